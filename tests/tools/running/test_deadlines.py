"""Calls are prepared, and made again after errors that may pass."""

import time

import pytest

from tools.errors import ToolCallError, TransientToolError
from tools.running.deadlines import Calls, Limits


def reasons(outcomes):
    return [outcome.reason or outcome.result for outcome in outcomes]


def test_what_calls_need_is_loaded_once_before_them_and_outside_their_deadlines():
    done = []

    def prepare():
        time.sleep(0.3)
        done.append("prepared")

    def call(request):
        done.append(request)
        return request

    calls = Calls("X", call, prepare=prepare, limits=Limits(0.1))
    assert calls.make([]) == []
    assert done == []
    assert reasons(calls.make(["a"])) == ["a"]
    assert reasons(calls.make(["b"])) == ["b"]
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

    (outcome,) = Calls("X", call, limits=Limits(10, attempts=2)).make(["a"])
    assert (outcome.reason, outcome.is_lasting) == (reason, is_lasting)
    assert len(tries) == attempts


def test_repetitions_count_towards_the_deadline():
    def call(request):
        time.sleep(0.15)
        raise TransientToolError("Busy.")

    (outcome,) = Calls("X", call, limits=Limits(0.2, attempts=50)).make(["a"])
    assert outcome.reason == "timeout"


def test_of_a_batch_only_those_are_made_again_that_may_pass():
    singles = []

    def call_batch(requests):
        return [TransientToolError("Busy.") if each == "b" else each for each in requests]

    def call(request):
        singles.append(request)
        return "again"

    calls = Calls("X", call, call_batch=call_batch, limits=Limits(10))
    assert reasons(calls.make(list("abc"))) == ["a", "again", "c"]
    assert singles == ["b"]
