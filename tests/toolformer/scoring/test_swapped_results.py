"""Calls with the results of others, and how many of them are kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.chance_level import ChanceComparison, chance_sample_size
from toolformer.scoring.swapped_results import SwappedResults
from tools.protocol import ToolCall


def call(number: int, *, document: str | None = None, result: str | None = None) -> ScoredCall:
    return ScoredCall(
        call_id=f"call-{number}",
        window=(document or f"document-{number}", 0),
        position=number,
        call=ToolCall("Calculator", f"{number} + 0"),
        result=result or str(number),
    )


def test_the_result_of_a_call_does_not_depend_on_which_others_are_asked_for():
    calls = [call(n, document=f"document-{n // 4}") for n in range(40)]
    ids = [each.call_id for each in calls]
    every = SwappedResults(calls, seed=0).of(ids)
    assert every.keys() == set(ids)
    for few in (ids[3:4], ids[::7]):
        assert SwappedResults(calls[::-1], seed=0).of(few) == {key: every[key] for key in few}
    assert SwappedResults(calls, seed=1).of(ids) != every


def literal_choice(order: list[ScoredCall], place: int, other_than: str | None) -> str | None:
    """All others are looked at, from the next one on."""
    own = order[place]
    others = [
        other
        for other in (*order[place + 1 :], *order[:place])
        if other.result not in (own.result, other_than)
    ]
    others.sort(key=lambda other: other.window[0] == own.window[0])
    return others[0].call_id if others else None


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("vwxyz")), max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_the_other_call_is_the_next_one_of_an_order(calls_of, asked):
    calls = [
        call(n, document=document, result=result) for n, (document, result) in enumerate(calls_of)
    ]
    chosen = SwappedResults(calls, seed=0)
    by_id = {each.call_id: each for each in calls}
    order = [by_id[call_id] for call_id in chosen.sample(len(calls))]
    first = chosen.of([f"call-{n}" for n in asked])
    second = chosen.second_of(list(first.values()))
    expected: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for place, each in enumerate(order):
        other = literal_choice(order, place, None) if each.position in asked else None
        if other is not None:
            expected[0][each.call_id] = other
            if third := literal_choice(order, place, by_id[other].result):
                expected[1][each.call_id] = third
    # In their order, too, which the batches of the scoring follow.
    for swapped, wanted in zip((first, second), expected, strict=True):
        assert [(key, each.other_call_id) for key, each in swapped.items()] == list(wanted.items())


@pytest.mark.parametrize(
    ("documents", "results"), [(1, 20_000), (1, 2), (20_000, 2), (2, 3), (20_000, 20_000)]
)
def test_the_calls_of_a_large_shard_get_their_results_in_one_pass(documents, results):
    # Looking at every other call would take half an hour.
    calls = [
        call(n, document=f"document-{n % documents}", result=str(n % results + 1))
        for n in range(20_000)
    ]
    chosen = SwappedResults(calls, seed=0)
    first = chosen.of([each.call_id for each in calls])
    assert len(first) == 20_000
    assert len(chosen.second_of(list(first.values()))) == (20_000 if results > 2 else 0)


def test_the_sample_follows_from_seed_and_calls_whatever_their_order():
    calls = [call(n) for n in range(60)]
    chosen = SwappedResults(calls, seed=0).sample(10)
    assert len(set(chosen)) == 10
    assert SwappedResults(calls[::-1], seed=0).sample(10) == chosen
    assert SwappedResults(calls, seed=1).sample(10) != chosen
    assert SwappedResults(calls, seed=0).sample(4) == chosen[:4]
    same = [call(n, result="Today is Friday.") for n in range(30)]
    assert SwappedResults(same, seed=0).sample(10) == []


@pytest.mark.parametrize(
    ("calls", "size"), [(0, 0), (1, 1), (10, 10), (99, 10), (100, 10), (250, 25), (5000, 200)]
)
def test_the_sample_is_every_tenth_call_but_ten_where_there_are_as_many(calls, size):
    assert chance_sample_size(calls, max_size=200) == size
    assert chance_sample_size(calls, max_size=3) == min(size, 3)


def share_above_chance(*, scored: int, own: float, swapped: float, alike: float) -> float:
    """How often a test of random decisions says "above chance".

    Args:
        scored: calls.
        own, swapped: how likely a call is kept with its own result, and with another.
        alike: share of the calls in which one draw decides on both.
    """
    generator, runs, n = np.random.default_rng(0), 1000, chance_sample_size(scored, max_size=200)
    draws, others = generator.random((runs, scored)), generator.random((runs, n))
    others = np.where(generator.random((runs, n)) < alike, draws[:, :n], others)
    is_kept, is_kept_by_chance = draws < own, others < swapped
    of_sample = is_kept[:, :n]
    counts = (is_kept, is_kept_by_chance, of_sample & is_kept_by_chance, of_sample)
    above = [
        ChanceComparison(kept, scored, kept_by_chance, n, both, sample_kept).is_above_chance
        for kept, kept_by_chance, both, sample_kept in zip(
            *(each.sum(axis=1).tolist() for each in counts), strict=True
        )
    ]
    return sum(map(bool, above)) / runs


@pytest.mark.parametrize("alike", [0.0, 0.7])
@pytest.mark.parametrize("share", [0.07, 0.25])
def test_results_that_say_nothing_are_above_chance_in_one_of_twenty(share, alike):
    found = share_above_chance(scored=464, own=share, swapped=share, alike=alike)
    assert 0.02 <= found <= 0.07


# All calls in the sample, as in small shards, and half of them.
@pytest.mark.parametrize("sample", [100, 50])
@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
def test_where_no_call_is_kept_with_either_result_one_of_twenty_is_above_chance(share, sample):
    # As with a contrast: own result, another one, neither.
    generator, shares = np.random.default_rng(0), [share, share, 1 - 2 * share]
    of_sample = generator.multinomial(sample, shares, size=5000).tolist()
    of_others = generator.binomial(100 - sample, share, size=5000).tolist()
    above = [
        ChanceComparison(own + others, 100, other, sample, 0, own).is_above_chance
        for (own, other, _), others in zip(of_sample, of_others, strict=True)
    ]
    assert 0.04 <= sum(map(bool, above)) / len(above) <= 0.06


def test_calls_that_are_kept_with_either_result_make_the_difference_surer():
    both_kept = {count: ChanceComparison(129, 400, 8, 40, count, 12) for count in (0, 8)}
    assert [each.is_above_chance for each in both_kept.values()] == [False, True]


def test_results_of_which_half_help_are_above_chance():
    assert share_above_chance(scored=464, own=0.5, swapped=0.05, alike=0.5) == 1.0
    assert share_above_chance(scored=464, own=0.25, swapped=0.05, alike=0.5) > 0.95
