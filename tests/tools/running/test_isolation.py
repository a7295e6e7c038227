"""Tools from outside: whatever they do, the calls beside them get their answers."""

import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolSettingsError,
    ToolUnavailableError,
)
from tools.protocol import Document, Preselection, Proposal
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.isolation import IsolatedTool
from tools.running.result_cache import ResultCache
from tools.running.worker_process import has_namespaces

MODULE = '''
import ctypes, os, socket, subprocess, sys, time
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError, TransientToolError
from tools.protocol import Preselection, Proposal

class Wild(Tool):
    """Does what its argument says."""
    name, version, description = "Wild", "1", "Does anything."
    prompt = "its prompt"

    def __init__(self, mark="!"):
        self.mark = mark
        self.tries = 0

    def parse_arguments(self, text):
        if text == "bad":
            raise CallSyntaxError("too_bad", "It is bad.")
        return text.strip()

    def check_place(self, arguments, *, before, after):
        if arguments in after:
            raise CallSyntaxError("look_ahead", "It stands behind.")

    def preselect(self, document):
        return Preselection(document.published_on is not None, "dated")

    def cache_key(self, document):
        return (document.document_id,)

    def call(self, arguments, document):
        do, _, what = arguments.partition(" ")
        if do == "hang":
            time.sleep(1000)
        if do == "exit":
            os._exit(3)
        if do == "segfault":
            ctypes.string_at(0)
        if do == "raise":
            raise ZeroDivisionError("wild")
        if do == "refuse":
            raise ToolCallError("refused", "No.")
        if do == "later":
            raise ToolCallError("refused", "Not now.", is_lasting=False)
        if do == "busy":
            self.tries += 1
            if self.tries < 3:
                raise TransientToolError("Busy.")
        if do == "large":
            return "x" * 100_000_000
        if do == "memory":
            return str(len(bytearray(64 * 2**30)))
        if do == "print":
            print("noise", flush=True)
            os.write(1, b"more noise")
            sys.stderr.write("x" * 1_000_000)
        if do == "read":
            return f"read {sys.stdin.read()!r}"
        if do == "markers":
            return "a [Wild(x) -> y] b"
        if do == "surrogate":
            return "half \\ud800 pair"
        if do == "number":
            return 5
        if do == "spawn":
            return str(subprocess.Popen(["sleep", "4711"], start_new_session=True).pid)
        if do == "connect":
            try:
                socket.create_connection(("127.0.0.1", int(what)), timeout=2).close()
            except OSError as error:
                return f"refused: {type(error).__name__}"
            return "connected"
        return f"{arguments}{self.mark}{document.text}"

class Online(Wild):
    name = "Online"
    needs_network = True

class Proposing(Wild):
    name = "Proposing"
    proposals_version = "p1"
    def proposals(self, document):
        return [Proposal(document.text.index("text"), "it"), Proposal(99)]

class Endless(Wild):
    name = "Endless"
    def proposals(self, document):
        while True:
            yield Proposal(0)

class Careless(Wild):
    name = "Careless"
    def call(self, arguments, document):
        raise ToolCallError("HTTP 404: Not Found", "Gone.")
    def check_place(self, arguments, *, before, after):
        raise CallSyntaxError("not here", "Elsewhere.")
    def preselect(self, document):
        return Preselection(True, "Has a text!")
    def cache_key(self, document):
        return (b"bytes",)

class Slow(Wild):
    name = "Slow"
    def prepare(self):
        time.sleep(1.5)
        self.mark = " was prepared "

class Batched(Wild):
    name = "Batched"
    def call_batch(self, requests):
        if any(arguments == "exit" for arguments, _ in requests):
            os._exit(4)
        return [arguments.upper() for arguments, _ in requests]

made = Wild("?")
not_a_tool = 5
'''
DOCUMENT = Document("d", "a text")


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "wild_tools.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def make(module):
    made = []

    def make(name="Wild", target="wild_tools:Wild", options=None, **limits):
        tool = IsolatedTool(name, target, options, **{"deadline_seconds": 5.0, **limits})
        made.append(tool)
        return tool

    yield make
    for tool in made:
        tool.close()


@pytest.mark.parametrize(("text", "is_lasting"), [("refuse", True), ("later", False)])
def test_whether_a_refusal_lasts_is_the_tools_own(make, text, is_lasting):
    with pytest.raises(ToolCallError) as caught:
        make().call(text, DOCUMENT)
    assert caught.value.is_lasting == is_lasting


def execute(tool, texts, deadline_seconds=5.0):
    return execute_calls(
        tool, [(text, DOCUMENT) for text in texts], limits=Limits(deadline_seconds)
    )


def outcomes(results):
    return [result.result or result.reason for result in results]


def test_it_is_the_tool_that_it_isolates(make):
    tool = make(options={"mark": "#"})
    assert (tool.version, tool.description, tool.prompt) == ("1", "Does anything.", "its prompt")
    assert tool.takes_arguments
    assert tool.parse_arguments(" x ") == "x"
    with pytest.raises(CallSyntaxError, match="It is bad"):
        tool.parse_arguments("bad")
    with pytest.raises(CallSyntaxError, match="behind"):
        tool.check_place("x", before="", after="x")
    tool.check_place("x", before="x", after="")
    assert tool.call("x", DOCUMENT) == "x#a text"
    assert tool.call_batch([("x", DOCUMENT), ("refuse", DOCUMENT)])[0] == "x#a text"
    assert not tool.preselect(DOCUMENT).is_selected
    assert tool.preselect(DOCUMENT).reason == "dated"
    assert tool.cache_key(DOCUMENT) == ("d",)
    tool.check_available()
    assert "wild_tools" not in sys.modules


def test_what_it_proposes_is_the_tools_own(make):
    assert not make().makes_proposals
    assert make().proposals(DOCUMENT) == []
    tool = make("Proposing", "wild_tools:Proposing")
    assert (tool.makes_proposals, tool.proposals_version) == (True, "p1")
    assert tool.proposals(DOCUMENT) == [Proposal(2, "it"), Proposal(99)]


def test_of_endless_proposals_one_more_comes_than_can_be_right(make):
    tool = make("Endless", "wild_tools:Endless", memory_bytes=2**30)
    assert len(tool.proposals(DOCUMENT)) == len(DOCUMENT.text) + 1


def test_whatever_form_its_reasons_have_they_are_words(make, tmp_path):
    tool = make("Careless", "wild_tools:Careless")
    assert tool.preselect(DOCUMENT) == Preselection(True, "has_a_text")
    with pytest.raises(CallSyntaxError) as caught:
        tool.check_place("x", before="", after="")
    assert caught.value.reason == "not_here"
    (result,) = execute_calls(
        tool, [("x", DOCUMENT)], limits=Limits(5), cache=ResultCache(tmp_path / "cache")
    )
    assert (result.reason, result.message) == ("http_404_not_found", "'HTTP 404: Not Found': Gone.")


def test_a_tool_that_is_made_already_is_taken_as_it_is(make):
    assert make(target="wild_tools:made").call("x", DOCUMENT) == "x?a text"
    with pytest.raises(ToolSettingsError, match="which has none"):
        make(target="wild_tools:made", options={"mark": "!"}).check_available()


WILD = {
    "x": "x!a text",
    "hang": "timeout",
    "exit": "process_ended",
    "segfault": "process_ended",
    "raise": "tool_error",
    "refuse": "refused",
    "busy": "busy!a text",
    "memory": "tool_error",
    "print": "print!a text",
    "read": "read ''",
    "markers": "a (Wild(x) to y) b",
    "number": "tool_error",
}


def test_whatever_one_call_does_the_others_get_their_answers(make):
    texts = [text for name in WILD for text in (name, "x")]
    results = execute(make(deadline_seconds=1.0), texts, deadline_seconds=1.0)
    assert outcomes(results)[::2] == list(WILD.values())
    assert set(outcomes(results)[1::2]) == {"x!a text"}


def test_large_and_odd_answers_are_cut_and_cleaned(make):
    large, odd = execute(make(), ["large", "surrogate"])
    assert set(large.result) == {"x"}
    assert len(large.result) <= 100_000
    assert odd.result is not None


def test_a_tool_may_take_its_time_to_prepare_and_each_new_process_does(make):
    tool = make("Slow", "wild_tools:Slow", deadline_seconds=1.0)
    results = execute(tool, ["x", "exit", "y"], deadline_seconds=1.0)
    assert outcomes(results) == [
        "x was prepared a text",
        "process_ended",
        "y was prepared a text",
    ]


def test_a_batch_that_kills_the_process_is_made_call_by_call(make):
    tool = make("Batched", "wild_tools:Batched")
    assert outcomes(execute(tool, ["a", "b"])) == ["A", "B"]
    assert outcomes(execute(tool, ["a", "exit", "b"])) == ["a!a text", "process_ended", "b!a text"]


def listening():
    server = socket.create_server(("127.0.0.1", 0))

    def accept():
        with server:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

    threading.Thread(target=accept, daemon=True).start()
    return server


def test_there_is_no_network(make):
    with closing(listening()) as server:
        answer = make().call(f"connect {server.getsockname()[1]}", DOCUMENT)
    assert answer.startswith("refused")


def test_a_tool_that_declares_it_has_the_network(make):
    with closing(listening()) as server:
        tool = make("Online", "wild_tools:Online")
        assert tool.call(f"connect {server.getsockname()[1]}", DOCUMENT) == "connected"


def test_without_namespaces_python_code_gets_no_sockets(make, monkeypatch):
    monkeypatch.setattr("tools.running.worker_process.has_namespaces", lambda: False)
    monkeypatch.setattr("tools.running.isolation.has_namespaces", lambda: False)
    with closing(listening()) as server:
        answer = make().call(f"connect {server.getsockname()[1]}", DOCUMENT)
    assert answer == "refused: PermissionError"


def running(command):
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if command in " ".join(process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def happens(condition):
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(not has_namespaces(), reason="this system grants no namespaces")
def test_nothing_that_the_tool_started_is_left(make):
    tool = make()
    tool.call("spawn", DOCUMENT)
    # For a moment a new process shows no command.
    assert happens(lambda: running("sleep 4711"))
    tool.close()
    assert happens(lambda: not running("sleep 4711"))


@pytest.mark.parametrize("text", ["x", "hang"])
def test_a_killed_parent_leaves_no_process(module, tmp_path, text):
    code = (
        "import os, sys, signal, threading, time\n"
        "from tools.running.isolation import IsolatedTool\n"
        "from tools.protocol import Document\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "tool = IsolatedTool('Wild', 'wild_tools:Wild', deadline_seconds=2.0)\n"
        "tool.call('x', Document('d', ''))\n"
        f"call = lambda: tool.call({text!r}, Document('d', ''))\n"
        "threading.Thread(target=call, daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print(tool._worker._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    worker = int(done.stdout)
    # In a call that hangs it ends a few seconds after the deadline.
    assert happens(lambda: not psutil.pid_exists(worker))


@pytest.mark.parametrize(
    ("target", "options", "error", "word"),
    [
        ("no_such_module:Wild", {}, ToolUnavailableError, "No module"),
        ("wild_tools:not_a_tool", {}, ToolUnavailableError, "not a tool"),
        ("wild_tools:Wild", {"colour": 1}, ToolSettingsError, "colour"),
    ],
)
def test_what_cannot_be_made_says_why(make, target, options, error, word):
    with pytest.raises(error, match=word):
        make("Wild", target, options).check_available()
