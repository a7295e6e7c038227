"""Calls are prepared, and made again after errors that may pass."""

import threading
import time

import pytest

from tools.base import Tool
from tools.errors import ToolCallError, TransientToolError
from tools.protocol import Document
from tools.running import call_threads
from tools.running.deadlines import MADE_AGAIN, Calls, Limits

DOCUMENT = Document("d", "a text")


class X(Tool):
    """Does what it was given."""

    name = "X"
    version = "1"
    description = "X."

    def __init__(self, call):
        self.given = call

    def call(self, arguments, document):
        return self.given(arguments)


def made(calls, arguments):
    return calls.make([(each, DOCUMENT) for each in arguments])


def reasons(calls, arguments):
    return [outcome.reason or outcome.result for outcome in made(calls, arguments)]


def test_what_calls_need_is_loaded_once_before_them_and_outside_their_deadlines():
    done = []

    class Prepared(X):
        def prepare(self):
            time.sleep(0.3)
            done.append("prepared")

    def call(request):
        done.append(request)
        return request

    calls = Calls(Prepared(call), limits=Limits(0.1))
    assert calls.make([]) == []
    assert done == []
    assert reasons(calls, "a") == ["a"]
    assert reasons(calls, "b") == ["b"]
    assert done == ["prepared", "a", "b"]


@pytest.mark.parametrize(
    ("error", "reason", "is_lasting", "attempts"),
    [
        (TransientToolError("Busy."), "transient_error", False, 2),
        (ConnectionResetError("reset"), "transient_error", False, 2),
        (ToolCallError("no", "No."), "no", True, 1),
        (SystemExit(), "tool_error", False, 1),
    ],
)
def test_only_errors_that_may_pass_are_tried_again_and_not_for_ever(
    error, reason, is_lasting, attempts
):
    tries = []

    def call(request):
        tries.append(request)
        raise error

    (outcome,) = made(Calls(X(call), limits=Limits(10, attempts=2)), "a")
    assert (outcome.reason, outcome.is_lasting) == (reason, is_lasting)
    assert len(tries) == attempts


def test_repetitions_count_towards_the_deadline():
    def call(request):
        time.sleep(0.15)
        raise TransientToolError("Busy.")

    (outcome,) = made(Calls(X(call), limits=Limits(0.2, attempts=50)), "a")
    assert outcome.reason == "timeout"


def test_of_a_batch_only_those_are_made_again_that_may_pass():
    singles = []

    class Batches(X):
        def call_batch(self, requests):
            return [TransientToolError("Busy.") if each == "b" else each for each, _ in requests]

    def call(request):
        singles.append(request)
        return "again"

    calls = Calls(Batches(call), limits=Limits(10))
    assert reasons(calls, "abc") == ["a", "again", "c"]
    assert singles == ["b"]


def computing(seconds):
    """Uses so much processor time of its thread, however long that takes."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


class Load:
    """Threads that hold the interpreter, so that a call gets a share of the processor."""

    def __enter__(self):
        self.is_over = threading.Event()

        def work():
            while not self.is_over.is_set():
                computing(0.05)

        self.threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.4])
def test_a_call_that_computes_is_answered_however_busy_the_machine_is(seconds):
    def call(request):
        computing(seconds)
        return request

    with Load():
        began = time.perf_counter()
        (outcome,) = made(Calls(X(call), limits=Limits(0.6)), "a")
        assert time.perf_counter() - began > 0.6
    assert (outcome.result, outcome.reason) == ("a", None)


def test_a_call_that_computes_for_longer_than_its_deadline_is_late():
    (outcome,) = made(Calls(X(lambda _: computing(1)), limits=Limits(0.3)), "a")
    assert outcome.reason == "timeout"


@pytest.mark.parametrize("wait", [time.sleep, lambda s: threading.Event().wait(s)])
def test_a_call_that_waits_has_its_deadline_on_the_clock(wait):
    began = time.perf_counter()
    (outcome,) = made(Calls(X(lambda _: wait(5)), limits=Limits(0.2)), "a")
    assert outcome.reason == "timeout"
    assert time.perf_counter() - began < 2


def test_a_call_that_got_too_little_of_a_processor_is_to_be_made_again(monkeypatch):
    monkeypatch.setattr(call_threads, "_MAX_DEADLINES_ON_THE_CLOCK", 2)

    def call(_):
        # A tenth of a processor.
        for _ in range(100):
            computing(0.01)
            time.sleep(0.09)

    (outcome,) = made(Calls(X(call), limits=Limits(0.3)), "a")
    assert (outcome.reason, outcome.is_lasting) == ("machine_busy", False)
    assert outcome.reason in MADE_AGAIN
