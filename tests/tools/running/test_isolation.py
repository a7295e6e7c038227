"""Tools from outside: whatever they do, the calls beside them get their answers."""

import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import happens
from tools.errors import (
    CallSyntaxError,
    ToolBugError,
    ToolCallError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.table_tool import TABLE_TOOL
from tools.protocol import LONGEST_ANSWER, Document, Preselection, Proposal
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.isolation import IsolatedTool
from tools.running.result_cache import ResultCache

WILD_TOOLS = Path(__file__).with_name("wild_tools.py")
REPOSITORY = Path(__file__).parents[3]
DOCUMENT = Document("d", "a text")


@pytest.fixture
def module(outside):
    outside.module("wild_tools", WILD_TOOLS.read_text())
    return outside.folder


@pytest.fixture
def make(module):
    made = []

    def make(name="Wild", target=None, options=None, **limits):
        target = target or f"wild_tools:{name}"
        tool = IsolatedTool(name, target, options or {}, **{**LIMITS, **limits})
        made.append(tool)
        return tool

    yield make
    for tool in made:
        tool.close()


LIMITS = {
    "deadline_seconds": 5.0,
    "memory_bytes": 4 * 2**30,
    "environment": (),
    "with_network": False,
}


def outcomes(tool, *texts, deadline_seconds=5.0, cache=None):
    requests = [(text, DOCUMENT) for text in texts]
    results = execute_calls(tool, requests, limits=Limits(deadline_seconds), cache=cache)
    return [result.result or result.reason for result in results]


def answers(tool, *texts):
    """Of the tool itself: nothing is tried again or cleaned."""
    found = []
    for text in texts:
        try:
            found.append(tool.call(text, DOCUMENT))
        except ToolCallError as error:
            found.append(error.reason)
    return found


def workers():
    return {each for each in psutil.Process().children() if "spawn_main" in str(each.cmdline())}


def test_it_is_the_tool_that_it_isolates(make):
    tool = make(options={"mark": "#"})
    assert (tool.version, tool.description, tool.prompt) == ("1", "Does anything.", "its prompt")
    assert tool.takes_arguments
    assert tool.parse_arguments(" x ") == "x"
    with pytest.raises(CallSyntaxError, match="It is bad"):
        tool.parse_arguments("bad")
    with pytest.raises(CallSyntaxError, match="behind"):
        tool.check_position("x", before="", after="x")
    tool.check_position("x", before="x", after="")
    assert tool.call("x", DOCUMENT) == "x#a text"
    answer, *refusals = tool.call_batch([(text, DOCUMENT) for text in ("x", "refuse", "later")])
    assert answer == "x#a text"
    assert [error.is_permanent for error in refusals] == [True, False]
    assert tool.preselect(DOCUMENT) == Preselection(False, "dated")
    assert tool.cache_key(DOCUMENT) == ("d",)
    assert (tool.makes_proposals, tool.proposals(DOCUMENT)) == (False, [])
    tool.check_available()
    assert "wild_tools" not in sys.modules


def test_what_it_proposes_is_the_tools_own_and_not_without_end(make):
    tool = make("Proposing", memory_bytes=2**30)
    assert (tool.makes_proposals, tool.proposals_version) == (True, "p1")
    # One more than can be right.
    assert tool.proposals(DOCUMENT) == [Proposal(2, "it"), *[Proposal(99)] * len(DOCUMENT.text)]


def test_whatever_form_its_reasons_have_they_are_words(make, tmp_path):
    tool = make("Careless")
    assert tool.preselect(DOCUMENT) == Preselection(True, "has_a_text")
    with pytest.raises(CallSyntaxError) as caught:
        tool.check_position("x", before="", after="")
    assert caught.value.reason == "not_here"
    assert outcomes(tool, "x", cache=ResultCache(tmp_path / "cache")) == ["http_404_not_found"]


WILD = {
    "x": "x!a text",
    "hang": "timeout",
    "exit": "process_ended",
    "segfault": "process_ended",
    "quit": "tool_error",
    "raise": "tool_error",
    "refuse": "refused",
    "busy": "busy!a text",
    "memory": "tool_error",
    "large": "x" * LONGEST_ANSWER,
    "streams": "read ''",
    "surrogate": "half ? pair",
}


def test_whatever_one_call_does_the_others_get_their_answers(make):
    texts = [text for name in WILD for text in (name, "x")]
    tool = make(deadline_seconds=3.0, memory_bytes=2**30)
    found = outcomes(tool, *texts, deadline_seconds=3.0)
    assert found[::2] == list(WILD.values())
    assert set(found[1::2]) == {"x!a text"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and glibc's arenas are Linux's")
def test_what_idle_threads_map_does_not_grow_with_the_cores(make):
    [peak] = outcomes(make(), "threads")
    kibibytes = int(peak.removesuffix("!a text"))
    # Their stacks take half of it.
    assert 500_000 < kibibytes < 1_000_000


def test_a_tool_may_take_its_time_to_prepare_and_each_new_process_does(make):
    found = outcomes(make("Slow", deadline_seconds=1.0), "x", "exit", "y", deadline_seconds=1.0)
    assert found == ["x was prepared a text", "process_ended", "y was prepared a text"]


def test_a_batch_that_kills_the_process_is_made_call_by_call(make):
    tool = make("Batched")
    assert outcomes(tool, "a", "b") == ["A", "B"]
    assert outcomes(tool, "a", "exit", "b") == ["a!a text", "process_ended", "b!a text"]


REPLACING = """
import json
from tools.base import Tool

class Replacing(Tool):
    name, version, description, prompt = "Replacing", "1", "Replaces what others use.", "prompt"

    def call(self, arguments, document):
        {}
        return arguments
"""


@pytest.mark.parametrize(
    "replaced",
    [
        "json.dumps = lambda *_, **__: 'null'",
        "json.dumps = str",
        "json.loads = None",
        "json.JSONEncoder.encode = None",
    ],
)
def test_a_tool_that_replaces_the_writer_of_json_answers_all_the_same(make, module, replaced):
    (module / "replacing_tools.py").write_text(REPLACING.format(replaced))
    tool = make("Replacing", target="replacing_tools:Replacing", deadline_seconds=30.0)
    assert outcomes(tool, "1", "2", deadline_seconds=30.0) == ["1", "2"]


@pytest.mark.parametrize("meddling", ["fork", "forked"])
def test_a_forked_child_answers_no_call(make, meddling):
    texts = (meddling, "1", "2", "3")
    assert answers(make(), *texts) == [f"{text}!a text" for text in texts]


@pytest.mark.parametrize("meddling", ["forge 1", "forge 2", "length"])
def test_what_the_tool_writes_is_no_answer_and_shifts_none(make, meddling):
    texts = ("1", meddling, "2", "3")
    assert answers(make(deadline_seconds=10.0), *texts) == [f"{text}!a text" for text in texts]


def test_a_request_that_the_process_does_not_read_has_its_deadline(make):
    tool = make(deadline_seconds=2.0)
    assert answers(tool, "1") == ["1!a text"]
    for worker in workers():
        worker.suspend()
    with pytest.raises(ToolTimeoutError, match="took longer than 2 s"):
        tool.call("x" * 2**22, DOCUMENT)
    assert answers(tool, "2") == ["2!a text"]


def test_what_is_written_between_calls_answers_none(make):
    tool = make()
    assert answers(tool, "delayed", "1")[0] == "delayed!a text"
    time.sleep(1)
    assert answers(tool, "2", "3") == ["2!a text", "3!a text"]


def test_a_tool_gets_no_secrets_but_those_that_it_is_given(make, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WEATHER_KEY", "secret too")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for given in ([], ["WEATHER_KEY"]):
        (names,) = answers(make(environment=given), "environment")
        assert {"PATH", "PYTHONPATH", *given} <= set(names.split())
        assert not {"HF_TOKEN", "WEATHER_KEY"} - set(given) & set(names.split())


def test_a_process_that_ends_says_how_and_what_it_prints_is_logged(make, capfd):
    with pytest.raises(ToolCallError, match=r"call \(exit status 3\): it may map 4 GiB"):
        make().call("exit", DOCUMENT)
    with pytest.raises(ToolCallError, match=r"call \(SIGSEGV\)"):
        make().call("segfault", DOCUMENT)
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("out of words")) == ("", 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("exit", ["process_ended"] * 3 + ["given_up"] * 2),
        ("hang", ["timeout"] * 3 + ["given_up"] * 2),
        # The caller may be at fault, also where the same call may have a result the next time.
        ("refuse", ["refused"] * 5),
        ("later", ["refused"] * 5),
        ("raise", ["tool_error"] * 5),
    ],
)
def test_only_a_tool_that_gives_no_answers_is_given_up(make, monkeypatch, text, found):
    monkeypatch.setattr("tools.running.deadlines.MAX_FAILURES_IN_A_ROW", 3)
    tool = make(deadline_seconds=0.5)
    assert outcomes(tool, *[text] * 5, deadline_seconds=0.5) == found
    assert outcomes(tool, "x") == ["x!a text"]


def test_an_error_names_the_line_of_the_users_own_file(make, caplog):
    tool = make()
    with pytest.raises(ToolBugError, match=r"JSONDecodeError: .* \(wild_tools.py:\d+ in stumble\)"):
        tool.call("raise", DOCUMENT)
    with caplog.at_level(logging.WARNING):
        assert set(outcomes(tool, *["raise"] * 5)) == {"tool_error"}
    (record,) = [each for each in caplog.records if "ToolBugError" in each.message]
    assert "in stumble)" in record.message
    assert record.exc_info is None


@pytest.mark.parametrize(
    ("name", "has_namespaces", "answer"),
    [
        ("Wild", True, "refused: "),
        ("Online", True, "connected"),
        # Python code at least gets no sockets.
        ("Wild", False, "refused: PermissionError"),
    ],
)
def test_only_a_tool_that_declares_it_has_the_network(
    make, monkeypatch, name, has_namespaces, answer
):
    if not has_namespaces:
        monkeypatch.setattr("tools.running.isolation.has_namespaces", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = make(name).call(f"connect {server.getsockname()[1]}", DOCUMENT)
    assert found.startswith(answer)


def running(command):
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if command in " ".join(process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize("end", ["close", "hang"])
def test_nothing_that_the_tool_started_is_left(make, end):
    tool, seconds = make(deadline_seconds=2.0), f"4711.{os.getpid()}"
    if end == "close":
        tool.call(f"spawn {seconds}", DOCUMENT)
        # For a moment a new process shows no command.
        assert happens(lambda: len(running(f"sleep {seconds}")) == 2)
        tool.close()
    else:
        with pytest.raises((ToolCallError, ToolTimeoutError)):
            tool.call(f"spawn {seconds} {end}", DOCUMENT)
    assert happens(lambda: not running(f"sleep {seconds}"))


def test_a_process_outlives_the_thread_that_first_asked_it(make):
    before, tool = workers(), make()
    asking = threading.Thread(target=tool.call, args=("x", DOCUMENT))
    asking.start()
    asking.join()
    started = workers() - before
    time.sleep(0.5)
    assert answers(tool, "1") == ["1!a text"]
    assert workers() - before == started


def test_a_process_that_ends_between_calls_is_started_again(make):
    before, tool = workers(), make()
    assert answers(tool, "1") == ["1!a text"]
    (worker,) = workers() - before
    worker.kill()
    assert happens(lambda: not tool._pool.is_active)
    assert answers(tool, "2") == ["2!a text"]


def test_a_tool_that_nobody_holds_has_no_process(make, module):
    tool = IsolatedTool("Wild", "wild_tools:Wild", {}, **LIMITS)
    before = workers()
    assert tool.call("x", DOCUMENT) == "x!a text"
    (worker,) = workers() - before
    del tool
    gc.collect()
    assert happens(lambda: not worker.is_running())


OF_A_SCRIPT = """
import os, psutil, signal, sys, threading, time
from tools.running.isolation import IsolatedTool
from tools.protocol import Document
sys.path.insert(0, {module!r})
tool = IsolatedTool("Wild", "wild_tools:Wild", {{}}, **{limits})
print(tool.call("x", Document("d", "")), flush=True)
"""
KILLED = """
call = lambda: tool.call("{text}", Document("d", ""))
threading.Thread(target=call, daemon=True).start()
time.sleep(1)
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def output_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False, cwd=REPOSITORY)
    return done.stdout.decode().split()


@pytest.mark.parametrize("text", ["x", "hang"])
def test_a_killed_parent_leaves_no_process(module, text):
    limits = {**LIMITS, "deadline_seconds": 600.0}
    code = OF_A_SCRIPT.format(module=str(module), limits=limits) + KILLED.format(text=text)
    answer, *processes = output_of([sys.executable, "-c", code])
    assert answer == "x!"
    assert processes
    assert happens(lambda: not any(psutil.pid_exists(int(each)) for each in processes))


def test_a_script_without_a_guard_is_not_run_again_by_the_process(module, tmp_path):
    script = tmp_path / "script.py"
    code = OF_A_SCRIPT.format(module=str(module), limits=LIMITS)
    script.write_text(f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{code}")
    assert output_of([sys.executable, str(script)]) == ["x!"]


NO_TABLE = {"table": "none.csv", "key": ["a"], "values": ["b"]}


@pytest.mark.parametrize(
    ("target", "options", "error", "word"),
    [
        ("no_such_module:Wild", {}, ToolUnavailableError, "No module"),
        ("wild_tools:not_a_tool", {}, ToolUnavailableError, "not a tool"),
        ("wild_tools:Wild", {"colour": 1}, ToolSettingsError, "^Wild: .* argument 'colour'. Its"),
        (TABLE_TOOL, NO_TABLE, ToolSettingsError, r"^Wild: the table .* or the query\.$"),
    ],
)
def test_what_cannot_be_made_says_why(make, target, options, error, word):
    with pytest.raises(error, match=word):
        make("Wild", target, options).check_available()
