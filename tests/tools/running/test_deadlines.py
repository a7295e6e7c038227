"""Calls are prepared, and made again after errors that may pass."""

import time

import pytest

from tools.base import Tool
from tools.calculator import Calculator
from tools.errors import CallSyntaxError, ToolCallError, TransientToolError
from tools.machine_translation import MachineTranslation
from tools.protocol import Document
from tools.question_answering import QA
from tools.running.deadlines import MAX_FAILURES_IN_A_ROW, Calls, Limits

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
    ("error", "reason", "is_permanent", "attempts"),
    [
        (TransientToolError("Busy."), "transient_error", False, 2),
        (ConnectionResetError("reset"), "transient_error", False, 2),
        (ToolCallError("no", "No."), "no", True, 1),
        (SystemExit(), "tool_error", False, 1),
    ],
)
def test_only_errors_that_may_pass_are_tried_again_and_not_for_ever(
    error, reason, is_permanent, attempts
):
    tries = []

    def call(request):
        tries.append(request)
        raise error

    (outcome,) = made(Calls(X(call), limits=Limits(10, attempts=2)), "a")
    assert (outcome.reason, outcome.is_permanent) == (reason, is_permanent)
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


def test_a_call_that_waits_has_its_deadline_on_the_clock():
    began = time.perf_counter()
    (outcome,) = made(Calls(X(lambda _: time.sleep(5)), limits=Limits(0.2)), "a")
    assert (outcome.reason, outcome.is_permanent) == ("timeout", False)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("is_batch", [False, True])
def test_a_tool_that_computes_has_ten_times_as_long_and_is_not_held_up_for_ever(is_batch):
    class Computing(X):
        is_compute_bound = True

        def call(self, arguments, document):
            time.sleep(float(arguments))
            return arguments

    class Batches(Computing):
        def call_batch(self, requests):
            return [self.call(*request) for request in requests]

    calls = Calls((Batches if is_batch else Computing)(None), limits=Limits(0.1))
    assert reasons(calls, ["0.3"]) == ["0.3"]
    assert reasons(calls, ["3"]) == ["timeout"]


def test_the_models_of_this_project_have_time_to_compute():
    assert [
        QA.is_compute_bound,
        MachineTranslation.is_compute_bound,
        Calculator.is_compute_bound,
    ] == [True, True, False]


REFUSALS = [
    ToolCallError("secret_in_answer", "It holds a key.", is_permanent=False),
    ToolCallError("translation_failed", "It is too long.", is_permanent=False),
    ToolCallError("refused_by_server", "No such city."),
    CallSyntaxError("no_number", "Expected a number."),
]


@pytest.mark.parametrize("error", REFUSALS)
@pytest.mark.parametrize("is_batch", [False, True])
def test_a_refusal_is_an_answer_and_gives_no_tool_up(error, is_batch):
    def refuse(_):
        raise error

    class Batches(X):
        def call_batch(self, requests):
            return [error for _ in requests]

    calls = Calls((Batches if is_batch else X)(refuse), limits=Limits(10))
    assert set(reasons(calls, ["a"] * (MAX_FAILURES_IN_A_ROW + 5))) == {error.reason}


def test_a_server_that_dies_at_each_call_is_given_up():
    def die(_):
        raise ToolCallError("server_died", "It ended.", is_permanent=False)

    calls = Calls(X(die), limits=Limits(10))
    found = reasons(calls, ["a"] * (MAX_FAILURES_IN_A_ROW + 1))
    assert found == ["server_died"] * MAX_FAILURES_IN_A_ROW + ["given_up"]
