"""Calls at once, in an event loop, and again after errors that may pass."""

import asyncio
import threading
import time

import pytest

from tools.errors import ToolCallError, ToolDiedError, TransientToolError
from tools.running.deadlines import Calls, Limits


def reasons(outcomes):
    return [outcome.reason or outcome.answer for outcome in outcomes]


def test_as_many_calls_as_allowed_run_at_once():
    gate = threading.Barrier(4)

    def call(request):
        # Breaks unless four calls wait here together.
        gate.wait(timeout=5)
        return request

    outcomes = Calls("X", call, limits=Limits(5, at_once=4)).make(list(range(8)))
    assert reasons(outcomes) == list(range(8))


def test_no_more_calls_than_allowed_run_at_once():
    running, most, lock = 0, 0, threading.Lock()

    def call(request):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return "x"

    Calls("X", call, limits=Limits(5, at_once=3)).make([None] * 30)
    assert most == 3


def test_a_call_that_hangs_holds_up_no_other_lane():
    never = threading.Event()

    def call(request):
        if request == "hang":
            never.wait(30)
        return request

    began = time.perf_counter()
    requests = ["hang", *"abcdef", "hang", "g"]
    outcomes = Calls("X", call, limits=Limits(0.3, at_once=2)).make(requests)
    never.set()
    assert reasons(outcomes) == ["timeout", *"abcdef", "timeout", "g"]
    assert time.perf_counter() - began < 5


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


def test_a_dead_tool_ends_all_lanes():
    def call(request):
        if request == 3:
            raise ToolDiedError("Dead.")
        return request

    with pytest.raises(ToolDiedError):
        Calls("X", call, limits=Limits(5, at_once=4)).make(list(range(50)))


def test_coroutines_run_together_in_one_loop():
    loops, waiting = set(), []

    async def call(request):
        loops.add(asyncio.get_running_loop())
        waiting.append(request)
        while len(waiting) < 5:
            await asyncio.sleep(0)
        return request

    outcomes = Calls("X", _not_called, call_async=call, limits=Limits(5, at_once=5)).make("abcde")
    assert reasons(outcomes) == list("abcde")
    assert len(loops) == 1


def test_a_coroutine_that_takes_too_long_is_a_timeout():
    async def call(request):
        await asyncio.sleep(30 if request == "hang" else 0)
        return request

    began = time.perf_counter()
    limits = Limits(0.2, at_once=2)
    outcomes = Calls("X", _not_called, call_async=call, limits=limits).make(["hang", "a", "b"])
    assert reasons(outcomes) == ["timeout", "a", "b"]
    assert time.perf_counter() - began < 5


def test_a_coroutine_that_blocks_its_loop_loses_those_beside_it_alone():
    never = threading.Event()

    async def call(request):
        if request == "block":
            never.wait(30)
        return request

    calls = Calls("X", _not_called, call_async=call, limits=Limits(0.2, at_once=1))
    outcomes = calls.make(["a", "block", "b"])
    never.set()
    assert reasons(outcomes) == ["a", "timeout", "b"]


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


def _not_called(request):
    raise AssertionError("A coroutine is there.")
