import random

import pytest

from toolformer.chance_level import KeptAgainstChance, chance_sample_size
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
    assert chance_sample_size(calls, max_size=200) == size
    assert chance_sample_size(calls, max_size=3) == min(size, 3)


def share_above_chance(*, scored: int, own: float, swapped: float, alike: float) -> float:
    """How often a test of random decisions says "above chance".

    Args:
        scored: calls.
        own, swapped: how likely a call is kept with its own result, and with another.
        alike: share of the calls in which one draw decides on both.
    """
    generator, runs, n = random.Random(0), 1000, chance_sample_size(scored, max_size=200)
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
