import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from toolformer.evaluation import intervals
from toolformer.evaluation.intervals import (
    RESAMPLES,
    PairedDifference,
    ScoreInterval,
    paired_difference,
    score_interval,
)


def pairs(*, better, worse, same):
    """Scores of two models with these counts; half of the rest is right, half wrong."""
    both = [index % 2 for index in range(same)]
    first = [1] * better + [0] * worse + both
    other = [0] * better + [1] * worse + both
    return first, other, [1] * len(first)


def compared(scores, others, weights, *, metric="accuracy", seed=0):
    return paired_difference(scores, others, weights, metric=metric, seed=seed)


def random_losses(items, *, seed, lower=0.0):
    generator = np.random.default_rng(seed)
    losses = generator.gamma(8.0, 0.4, size=items)
    others = np.maximum(losses + generator.normal(lower, 0.3, size=items), 0)
    return losses, others, generator.integers(1, 500, size=items)


def perplexity(losses, tokens):
    return math.exp(float(np.sum(losses * tokens)) / float(np.sum(tokens)))


def assert_bounds(interval, statistic, items, tolerance=None):
    """The bounds of the bootstrap as it is told: draw items, compute, sort, cut off."""
    generator = np.random.default_rng(7)
    values = sorted(statistic(generator.integers(0, items, size=items)) for _ in range(4000))
    low, high = values[100], values[3900]
    tolerance = tolerance or 0.05 * (high - low)
    assert interval.low == pytest.approx(low, abs=tolerance)
    assert interval.high == pytest.approx(high, abs=tolerance)


def assert_mirrored(result, exchanged):
    assert (exchanged.better, exchanged.worse) == (result.worse, result.better)
    assert exchanged.difference == pytest.approx(-result.difference)
    assert exchanged.low == pytest.approx(-result.high)
    assert exchanged.high == pytest.approx(-result.low)
    assert exchanged.p_value == pytest.approx(result.p_value)


def test_the_bounds_of_accuracy_are_those_of_wilsons_formula():
    interval = score_interval([1] * 30 + [0] * 70, [1] * 100, metric="accuracy", seed=0)
    z = 1.959964
    centre = (0.3 + z**2 / 200) / (1 + z**2 / 100)
    width = z / (1 + z**2 / 100) * math.sqrt(0.3 * 0.7 / 100 + z**2 / 40_000)
    assert interval.score == pytest.approx(0.3)
    assert interval.low == pytest.approx(centre - width, abs=1e-6)
    assert interval.high == pytest.approx(centre + width, abs=1e-6)


def test_the_bounds_of_perplexity_are_those_of_resampled_items():
    losses, _, tokens = random_losses(60, seed=1)
    interval = score_interval(losses, tokens, metric="perplexity", seed=0)
    assert interval.score == pytest.approx(perplexity(losses, tokens))
    assert_bounds(interval, lambda drawn: perplexity(losses[drawn], tokens[drawn]), 60)


def test_mcnemars_exact_test_of_69_against_10():
    result = compared(*pairs(better=69, worse=10, same=21))
    tail = sum(math.comb(79, wins) for wins in range(69, 80)) / 2**79
    assert result.p_value == pytest.approx(2 * tail)
    assert result.p_value == pytest.approx(6e-12, rel=0.1)
    assert (result.items, result.better, result.worse) == (100, 69, 10)
    assert result.difference == pytest.approx(0.59)


@pytest.mark.parametrize(("better", "worse", "same"), [(12, 5, 23), (5, 12, 23), (8, 8, 24)])
def test_the_multinomial_draw_is_the_bootstrap_over_items(better, worse, same):
    scores, others, weights = pairs(better=better, worse=worse, same=same)
    result = compared(scores, others, weights)
    differences = np.subtract(scores, others)
    # A difference is a multiple of 1/40, and the two may fall on neighbouring ones.
    assert_bounds(result, lambda drawn: differences[drawn].mean(), 40, tolerance=1 / 40 + 1e-9)


def test_the_bounds_of_a_difference_of_perplexity_are_those_of_resampled_items():
    losses, others, tokens = random_losses(50, seed=3)
    result = compared(losses, others, tokens, metric="perplexity")

    def change(drawn):
        return perplexity(losses[drawn], tokens[drawn]) - perplexity(others[drawn], tokens[drawn])

    assert_bounds(result, change, 50)
    assert_mirrored(result, compared(others, losses, tokens, metric="perplexity"))


@pytest.mark.parametrize("equal", [0, 50])
def test_five_lower_losses_of_five_are_two_of_thirty_two_flips_and_equal_ones_none(equal):
    losses, others = [1.0] * 5, [1.1, 1.2, 1.3, 1.4, 1.5]
    same = [2.0] * equal
    result = compared(losses + same, others + same, [9] * (5 + equal), metric="perplexity")
    assert result.p_value == pytest.approx(2 / 32)
    assert (result.better, result.worse) == (5, 0)
    assert result.low < result.difference < result.high < 0


@pytest.mark.parametrize("items", [13, 14])
def test_the_sign_flip_test_agrees_with_all_flips_listed(items):
    losses, others, tokens = random_losses(items, seed=4, lower=0.2)
    result = compared(losses, others, tokens, metric="perplexity")
    differences = (losses - others) * tokens
    signs = np.array(list(itertools.product([1, -1], repeat=items)))
    sums, observed = signs @ differences, abs(differences.sum()) * (1 - 1e-12)
    assert result.p_value == pytest.approx(np.mean(np.abs(sums) >= observed), abs=0.015)


def test_random_flips_never_give_a_p_value_of_zero():
    result = compared([1.0] * 100, [2.0] * 100, [9] * 100, metric="perplexity")
    assert result.p_value == pytest.approx(2 / (RESAMPLES + 1))
    assert result.low == result.high == result.difference == pytest.approx(math.e - math.e**2)


@pytest.mark.parametrize("items", [1, 2, 30])
def test_the_same_losses_have_no_difference_and_no_evidence(items):
    losses, _, tokens = random_losses(items, seed=5)
    result = compared(losses, losses, tokens, metric="perplexity")
    assert result == PairedDifference(items, 0, 0, 0.0, 0.0, 0.0, 1.0)
    interval = score_interval([1.1] * items, tokens, metric="perplexity", seed=0)
    assert interval == ScoreInterval(interval.score, interval.score, interval.score)
    assert interval.score == pytest.approx(math.exp(1.1))


def test_memory_does_not_grow_with_the_number_of_texts(monkeypatch):
    # A hundred resamples at once would be 24 MB in every array, and there are several.
    monkeypatch.setattr(intervals, "RESAMPLES", 100)
    losses, others, tokens = random_losses(30_000, seed=6)
    score_interval([1.0, 2.0], [1, 1], metric="perplexity", seed=0)  # imports scipy
    tracemalloc.start()
    try:
        score_interval(losses, tokens, metric="perplexity", seed=0)
        compared(losses, others, tokens, metric="perplexity")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24e6


@settings(max_examples=25, deadline=None)
@given(better=st.integers(0, 20), worse=st.integers(0, 20), same=st.integers(1, 60))
@example(better=20, worse=20, same=37)
def test_a_difference_lies_within_its_interval_and_exchanging_the_two_mirrors_it(
    better, worse, same
):
    scores, others, weights = pairs(better=better, worse=worse, same=same)
    result = compared(scores, others, weights)
    assert_mirrored(result, compared(others, scores, weights))
    assert -1 <= result.low <= result.difference <= result.high <= 1
    assert 0 < result.p_value <= 1


def test_the_same_seed_gives_the_same_result():
    losses, others, tokens = random_losses(30, seed=9)
    answers = pairs(better=9, worse=4, same=30)

    def results(seed):
        interval = score_interval(losses, tokens, metric="perplexity", seed=seed)
        difference = compared(losses, others, tokens, metric="perplexity", seed=seed)
        return interval, difference, compared(*answers, seed=seed)

    assert results(0) == results(0)
    assert results(1) == results(1)
