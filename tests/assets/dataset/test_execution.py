"""The stage that makes calls: its tools work at the same time, and calls that peek are left out."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assets.dataset.execution import answered_samples, execute_candidates
from assets.dataset.tool_threads import cache_latest, run_tools_concurrently
from assets.shard_texts import typed_frame
from tests.fakes import byte_tokenizer
from toolformer.forward.checkpoint import Checkpoint
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import validated
from tools.base import Tool
from tools.errors import ToolDiedError, ToolUnavailableError
from tools.protocol import Document


def test_tools_work_at_the_same_time_and_an_error_of_one_stops_no_other():
    meeting, done = threading.Barrier(3, timeout=10), []

    def meet(name: str, error: Exception | None = None) -> str:
        meeting.wait()
        if error is not None:
            raise error
        done.append(name)
        return f"{name} done"

    def work(error: Exception | None) -> dict[str, Callable[[], str]]:
        return {
            "a": partial(meet, "a", error),
            **{name: partial(meet, name) for name in ("b", "c")},
        }

    assert run_tools_concurrently(work(None)) == {"a": "a done", "b": "b done", "c": "c done"}
    done.clear()
    with pytest.raises(ValueError, match="no answer"):
        run_tools_concurrently(work(ValueError("no answer")))
    assert sorted(done) == ["b", "c"]
    with pytest.raises(ToolDiedError, match="a: its process ended"):
        run_tools_concurrently(work(ToolDiedError("its process ended")))


def test_threads_that_ask_together_get_one_value_and_another_version_gets_another():
    made, meeting = [], threading.Barrier(3, timeout=10)

    def make(version: int) -> object:
        made.append(version)
        # Long enough for the others to ask meanwhile.
        threading.Event().wait(0.05)
        return object()

    get = cache_latest(make)

    def ask(found: list[object], version: int) -> None:
        meeting.wait()
        found.append(get(version))

    for version in (1, 2):
        found: list[object] = []
        threads = [threading.Thread(target=ask, args=(found, version)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 3
        assert len(set(map(id, found))) == 1
    assert made == [1, 2]


class Repeat(Tool):
    name, version, description = "Repeat", "1", "Repeats a word."

    def __init__(self) -> None:
        self.asked: list[str] = []

    def call(self, arguments: str, document: Document) -> str:
        self.asked.append(arguments)
        return f"{arguments}!"


TEXTS = [
    Document("a", "The canal of Suez was dug by 1200 men. It ends at Port Said."),
    Document("b", "It is long.", title="Suez"),
]
CALLS = [
    ("Where does Suez end?", TEXTS[0], 38),
    ("Where is Port Said?", TEXTS[0], 38),
    ("1,200 / 2", TEXTS[0], 10),
    ("Suez", TEXTS[1], 3),
    ("Port Said", TEXTS[0], 59),
]


def answers(
    tool: Tool,
    folder: Path,
    *,
    allows_peeking: bool = False,
    context: str | None = None,
    could_peek: bool = True,
):
    execution = {"allows_peeking": allows_peeking, "uses_cache": False}
    settings = validated({"execution": execution}, origin="test")
    contexts = {} if context is None else {("a", 0): context}
    return answered_samples(
        tool,
        CALLS,
        [could_peek] * len(CALLS),
        contexts,
        byte_tokenizer(),
        Workspace(settings, Home(folder)),
        progress=lambda *_: None,
    )


def test_a_call_that_asks_with_what_only_the_text_behind_it_tells_is_not_made(tmp_path):
    tool = Repeat()
    rows = answers(tool, tmp_path)
    assert [row["peeks"] for row in rows] == [False, True, True, False, False]
    assert [row["reason"] for row in rows] == [None, "peeks", "peeks", None, None]
    assert [row["message"] for row in rows[1:3]] == [
        "Only appears after the call: Port, Said.",
        "Only appears after the call: 1,200.",
    ]
    assert tool.asked == [CALLS[0][0], CALLS[3][0], CALLS[4][0]]
    assert [row["result"] for row in rows] == [
        f"{arguments}!" if arguments in tool.asked else None for arguments, _, _ in CALLS
    ]


def test_peeking_calls_are_made_where_the_settings_allow_it_and_stay_marked(tmp_path):
    rows = answers(Repeat(), tmp_path, allows_peeking=True)
    assert [row["peeks"] for row in rows] == [False, True, True, False, False]
    assert {row["status"] for row in rows} == {"executed"}


def test_the_context_of_a_text_is_known_and_a_choice_of_the_caller_is_no_content(tmp_path):
    rows = answers(Repeat(), tmp_path, context="Port Said and its 1,200 men")
    # Nor is what a model wrote that was not shown what stands behind.
    unseen = answers(Repeat(), tmp_path, could_peek=False)
    tool = Repeat()
    tool.arguments_come_from_text = False
    for each in (rows, unseen, answers(tool, tmp_path)):
        assert [row["peeks"] for row in each] == [False] * len(CALLS)


def test_rows_of_a_tool_that_has_changed_are_not_those_that_were_wanted(tmp_path):
    tool = Repeat()
    wanted = Fingerprint.of({"tool_version": tool.version})
    work: Any = SimpleNamespace(
        shared=({}, {}, byte_tokenizer()),
        partition=SimpleNamespace(tool=tool, prompt=None),
        read=lambda _: typed_frame("candidate_calls", []),
        checkpoint=lambda: Checkpoint(tmp_path / "checkpoint", fingerprint=""),
        run=Workspace(validated({"preset": "small"}, origin=""), Home(tmp_path)),
        progress=lambda _: lambda *_: None,
        expected=SimpleNamespace(fingerprint=wanted),
        keys={},
    )
    assert execute_candidates(work).rows.is_empty()
    tool.version = "2"
    with pytest.raises(ToolUnavailableError, match="from version '1' to '2'"):
        execute_candidates(work)
