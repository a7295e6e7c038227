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


@pytest.mark.parametrize("error", [TransientToolError("Busy."), ConnectionResetError("reset")])
def test_an_error_that_may_pass_is_tried_again(error):
    tries = []

    def call(request):
        tries.append(request)
        if len(tries) < 3:
            raise error
        return "at last"

    assert reasons(Calls("X", call, limits=Limits(10)).make(["a"])) == ["at last"]
    assert tries == ["a"] * 3


def test_attempts_are_bounded_and_the_reason_is_no_lasting_one():
    tries = []

    def call(request):
        tries.append(request)
        raise TransientToolError("Busy.")

    (outcome,) = Calls("X", call, limits=Limits(10, attempts=2)).make(["a"])
    assert (outcome.reason, outcome.is_lasting) == ("transient_error", False)
    assert len(tries) == 2


def test_a_refusal_is_not_tried_again():
    tries = []

    def call(request):
        tries.append(request)
        raise ToolCallError("no", "No.")

    (outcome,) = Calls("X", call, limits=Limits(10)).make(["a"])
    assert (outcome.reason, outcome.is_lasting, len(tries)) == ("no", True, 1)


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


@pytest.mark.parametrize("limits", [{"deadline_seconds": 0}, {"batch_size": 0}, {"attempts": 0}])
def test_limits_out_of_range_are_named(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        Limits(**{"deadline_seconds": 1.0, **limits})


def test_a_tool_that_wants_to_end_the_process_fails_like_any_other():
    def call(request):
        raise SystemExit

    assert reasons(Calls("X", call, limits=Limits(10)).make(["a"])) == ["tool_error"]
