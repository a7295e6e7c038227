"""Questions asked in both modes, with a model that writes what it is told to."""

import datetime
import json
from pathlib import Path

import pytest

from assets.questions import PROMPT_TOO_LONG, ask
from dagster_project.settings.sections import Settings, validated
from dagster_project.wiring.toolbox import Toolbox
from tests.fakes import ScriptedModel
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from tools.registry import create_tool

CALLED = " [Calculator(6 * 7) -> 42]"
QUESTIONS = [
    {"id": "right", "question": "Six times seven?", "answers": ["42"]},
    {"id": "undone", "question": "Why?", "answers": ["because"]},
]
TEXTS = ["Q: Six times seven? It is 41 so.", "Q: Why? Just because so."]


@pytest.fixture
def benchmark(tmp_path: Path) -> QuestionFile:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(f"{json.dumps(question)}\n" for question in QUESTIONS))
    return QuestionFile("own", file, prompt="Q: {question}", first_words=5)


def asked(model, benchmark, settings: Settings, tools: dict | None = None):
    if tools is None:
        tools = {"Calculator": create_tool("Calculator")}
    warnings: list[str] = []
    progress: list[tuple[int, int]] = []
    rows, counts = ask(
        model,
        benchmark,
        Toolbox(tools, {}, {}),
        settings,
        progress=lambda done, total: progress.append((done, total)),
        warn=warnings.append,
    )
    return {(row["item_id"], row["mode"]): row for row in rows}, counts, warnings, progress


def test_every_item_is_asked_in_both_modes_and_scored_without_its_call(benchmark: QuestionFile):
    with_call = f"Q: Six times seven? It is{CALLED} 42 so."
    model = ScriptedModel(
        [*TEXTS, with_call], open_ranks={"Q: Six times seven? It is": 3, "Q: Why? Just": 3}
    )
    settings = validated({"decoding": {"call_top_k": 3}}, origin="test")
    rows, counts, warnings, progress = asked(model, benchmark, settings)
    assert set(rows) == {(key, mode) for key in ("right", "undone") for mode in MODES}
    off, on = rows["right", "disabled"], rows["right", "enabled"]
    assert (off["output"], off["answer"], off["score"]) == (" It is 41 so.", " It is 41 so.", 0.0)
    assert (on["output"], on["answer"]) == (f" It is{CALLED} 42 so.", " It is 42 so.")
    assert (on["score"], on["called_tool"], on["arguments"], on["result"]) == (
        *(1.0, "Calculator"),
        *("6 * 7", "42"),
    )
    assert json.loads(on["gold"]) == ["42"]
    assert (on["stopped_by"], off["stopped_by"]) == ("end_of_text", "end_of_text")
    undone = rows["undone", "enabled"]
    assert undone["called_tool"] is None
    assert undone["undone_call"] == " [ (end_of_text)"
    assert (undone["output"], undone["score"]) == (" Just because so.", 1.0)
    assert (counts, warnings, progress[-1]) == ({}, [], (4, 4))


MODES = ("disabled", "enabled")


def test_every_score_follows_from_its_row(benchmark: QuestionFile):
    rows, *_ = asked(ScriptedModel(TEXTS), benchmark, Settings())
    items = {item.item_id: item for item in benchmark.items()}
    for (item_id, _), row in rows.items():
        item = items[item_id]
        assert json.loads(row["gold"]) == list(item.gold)
        assert float(benchmark.score(item, row["answer"])) == row["score"]


def test_a_prompt_that_leaves_no_room_is_a_reason_and_no_stop(benchmark: QuestionFile):
    model = ScriptedModel(TEXTS)
    model.context_length = 300
    long = {"id": "long", "question": "Why so long? " * 40, "answers": ["because"]}
    file = benchmark.files()[0]
    file.write_text(file.read_text() + json.dumps(long) + "\n")
    settings = validated({"execution": {"max_result_tokens": 32}}, origin="test")
    rows, counts, *_ = asked(model, benchmark, settings)
    assert counts == {PROMPT_TOO_LONG: 1}
    for mode in MODES:
        assert rows["long", mode]["reason"] == PROMPT_TOO_LONG
        assert rows["long", mode].get("score") is None
        assert rows["right", mode]["score"] is not None


def test_rows_that_are_left_out_are_told(benchmark: QuestionFile):
    file = benchmark.files()[0]
    file.write_text(file.read_text() + '{"question": "Who?"}\n' * 7)
    _, counts, warnings, _ = asked(ScriptedModel(TEXTS), benchmark, Settings())
    assert counts == {"rows of the file": 7}
    assert warnings[0].startswith("own leaves out own.jsonl, row 3: column 'answers' is missing")
    assert warnings[-1] == "own leaves out 2 more rows."


def test_the_calendar_says_a_fixed_day_where_an_item_has_none(tmp_path: Path):
    file = tmp_path / "own.jsonl"
    file.write_text('{"question": "Now?", "answers": ["Thursday"]}\n')
    benchmark = QuestionFile("own", file, prompt="Q: {question}")
    settings = Settings()
    today = settings.evaluation.today
    assert today == datetime.date(2023, 2, 9)
    result = f"Today is {today:%A, %B} {today.day}, {today.year}."
    text = f"Q: Now? [Calendar() -> {result}] Thursday"
    tools = {"Calendar": create_tool("Calendar", {"date_source": "published_on"})}
    rows, *_ = asked(ScriptedModel([text]), benchmark, settings, tools)
    (row,) = (row for (_, mode), row in rows.items() if mode == "enabled")
    assert (row["result"], row["score"]) == (result, 1.0)
