import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.chance_level import KeptAgainstChance, chance_calls, chance_sample_size
from toolformer.losses import ScoredCall
from tools.protocol import ToolCall


def call(number: int, *, document: str | None = None, result: str | None = None) -> ScoredCall:
    return ScoredCall(
        call_id=f"call-{number}",
        window=(document or f"document-{number}", 0),
        position=number,
        call=ToolCall("Calculator", f"{number} + 0"),
        result=result or str(number),
    )


@pytest.mark.parametrize(
    ("calls", "size"), [(0, 0), (1, 1), (10, 10), (99, 10), (100, 10), (250, 25), (5000, 200)]
)
def test_the_sample_is_every_tenth_call_but_ten_where_there_are_as_many(calls, size):
    assert chance_sample_size(calls, most=200) == size
    assert chance_sample_size(calls, most=3) == min(size, 3)
    # A single call has no other whose result it could get.
    found = size if calls > 1 else 0
    assert len(chance_calls([call(n) for n in range(calls)], most=200, seed=0)) == found


def test_each_call_keeps_its_place_and_gets_the_result_of_the_named_other():
    calls = [call(n) for n in range(40)]
    by_id = {each.call_id: each for each in calls}
    sample = chance_calls(calls, most=200, seed=0)
    assert len(sample) == 10
    for each in sample:
        own, swapped = by_id[each.call_id], each.swapped
        assert swapped.call == dataclasses.replace(own, result=by_id[swapped.other_call_id].result)
        assert each.second is not None
        second = by_id[each.second.other_call_id].result
        assert each.second.call == dataclasses.replace(own, result=second)
        assert len({own.result, swapped.call.result, second}) == 3


def test_no_result_is_used_twice_where_there_are_enough():
    calls = [call(n) for n in range(200)]
    sample = chance_calls(calls, most=200, seed=0)
    assert len({each.swapped.other_call_id for each in sample}) == len(sample) == 20
    # Also where the sample is all there is: then the results are a derangement of their own.
    few = chance_calls(calls[:2], most=200, seed=0)
    assert {each.swapped.other_call_id for each in few} == {"call-0", "call-1"}
    assert [each.second for each in few] == [None, None]


def test_results_of_other_texts_are_preferred():
    calls = [call(n, document=f"document-{n // 20}") for n in range(40)]
    for each in chance_calls(calls, most=200, seed=0):
        other = calls[int(each.swapped.other_call_id.removeprefix("call-"))]
        assert other.window[0] != each.swapped.call.window[0]
    one_text = [call(n, document="the only one") for n in range(40)]
    assert len(chance_calls(one_text, most=200, seed=0)) == 10


def test_a_call_without_another_result_is_left_out():
    same = [call(n, result="Today is Friday.") for n in range(30)]
    assert chance_calls(same, most=200, seed=0) == []
    sample = chance_calls([*same, call(30)], most=200, seed=0)
    assert sample
    for each in sample:
        assert each.second is None
        if each.call_id != "call-30":
            assert each.swapped.other_call_id == "call-30"


def test_the_choice_follows_from_seed_and_calls_whatever_their_order():
    calls = [call(n) for n in range(60)]
    chosen = chance_calls(calls, most=200, seed=0)
    assert chance_calls(calls[::-1], most=200, seed=0) == chosen
    assert chance_calls(calls, most=200, seed=1) != chosen
    assert chance_calls(calls, most=4, seed=0) == chosen[:4]
    assert chance_calls(calls, most=0, seed=0) == []


@given(
    results=st.lists(st.sampled_from("abc"), max_size=40),
    documents=st.integers(1, 5),
    most=st.integers(0, 50),
)
def test_no_call_ever_keeps_its_own_result(results, documents, most):
    calls = [
        call(n, document=f"document-{n % documents}", result=result)
        for n, result in enumerate(results)
    ]
    sample = chance_calls(calls, most=most, seed=0)
    assert len({each.call_id for each in sample}) == len(sample) <= most
    for each in sample:
        own = results[int(each.call_id.removeprefix("call-"))]
        second = [] if each.second is None else [each.second.call.result]
        seen = [own, each.swapped.call.result, *second]
        assert len(set(seen)) == len(seen)


def share_above_chance(*, scored: int, own: float, swapped: float, alike: float) -> float:
    """How often a test of random decisions says "above chance".

    Args:
        scored: calls.
        own, swapped: how likely a call is kept with its own result, and with another.
        alike: share of the calls in which one draw decides on both.
    """
    generator, runs, n = random.Random(0), 1000, chance_sample_size(scored, most=200)
    above = 0
    for _ in range(runs):
        kept = kept_by_chance = both = sample_kept = 0
        for place in range(scored):
            draw = generator.random()
            is_kept = draw < own
            kept += is_kept
            if place < n:
                other_draw = draw if generator.random() < alike else generator.random()
                kept_by_chance += other_draw < swapped
                both += is_kept and other_draw < swapped
                sample_kept += is_kept
        found = KeptAgainstChance(kept, scored, kept_by_chance, n, both, sample_kept)
        above += bool(found.is_above_chance)
    return above / runs


@pytest.mark.parametrize("alike", [0.0, 0.7])
@pytest.mark.parametrize("share", [0.07, 0.25])
def test_results_that_say_nothing_are_above_chance_in_one_of_twenty(share, alike):
    found = share_above_chance(scored=464, own=share, swapped=share, alike=alike)
    assert 0.02 <= found <= 0.07


def test_results_of_which_half_help_are_above_chance():
    assert share_above_chance(scored=464, own=0.5, swapped=0.05, alike=0.5) == 1.0
    assert share_above_chance(scored=464, own=0.25, swapped=0.05, alike=0.5) > 0.95
