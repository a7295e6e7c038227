"""How sure a score is: 95 % intervals, and paired differences with a test.

The paper gives no intervals and no tests; the methods are those of Wilson (1927), Efron (1979),
McNemar (1947) and Fisher (1935). Nothing is corrected for many comparisons. Items count as
independent of each other, so that windows of one long text make intervals a little too narrow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import scipy

Metric: TypeAlias = Literal["accuracy", "perplexity"]
Values: TypeAlias = Sequence[float] | np.ndarray

CONFIDENCE_LEVEL = 0.95
# One less than a round number: with the observed value added, shares come out in ten thousandths.
RESAMPLES = 9_999

# Random numbers that are held at once: 2 MiB in each array, whatever the number of items.
_BATCH_VALUES = 2**18


@dataclass(frozen=True, slots=True)
class ScoreInterval:
    """A score (share of correct items, or perplexity) with the bounds of its 95 % interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference between two models or modes on the same items.

    Attributes:
        better, worse: Number of items on which the first is better, or worse.
        difference: Score of the first minus score of the other, in the unit of the score. An
            accuracy is better when it is positive, a perplexity when it is negative.
        low, high: Bounds of the difference's 95 % interval.
        p_value: Two-sided; how often chance alone would give a difference at least as large.
    """

    items: int
    better: int
    worse: int
    difference: float
    low: float
    high: float
    p_value: float


def score_interval(scores: Values, weights: Values, *, metric: Metric, seed: int) -> ScoreInterval:
    """Give the score of a model on a benchmark with its 95 % interval.

    Accuracy has the interval of Wilson (1927), which is not empty where every item is wrong or
    every item is right. Perplexity has the percentile interval of the bootstrap over items
    (Efron, 1979); it is empty where all losses are the same.

    Args:
        scores: Scores of each item, shape (item,): 0 or 1 for accuracy, mean loss in nats per token
            for perplexity.
        weights: Weights of each item, shape (item,): the tokens for perplexity, all equal for
            accuracy.
        metric: What the scores are.
        seed: Start of the random numbers; the same seed gives the same interval.

    Example:
        >>> interval = score_interval([1, 0, 0, 1], [1, 1, 1, 1], metric="accuracy", seed=0)
        >>> print(f"{interval.score} ({interval.low:.2f} to {interval.high:.2f})")
        0.5 (0.15 to 0.85)
    """
    values, weighed = _arrays(scores, weights)
    if metric == "accuracy":
        return _wilson_interval(values)
    sums = (values * weighed, weighed)
    score = float(_perplexity(*sums, axis=-1))
    # The bootstrap refuses a single item, and equal losses would leave it with rounding errors.
    if _is_constant(values):
        return ScoreInterval(score, score, score)
    return ScoreInterval(score, *_bootstrap_interval(sums, _perplexity, seed))


def paired_difference(
    scores: Values, other_scores: Values, weights: Values, *, metric: Metric, seed: int
) -> PairedDifference:
    """Compare two models, or two modes of one, item by item.

    The interval is the percentile interval of the paired bootstrap (Efron, 1979); it is empty
    where all items differ by the same. The test is that of McNemar (1947) in its exact form for
    accuracy. For perplexity it is the sign-flip test of Fisher (1935) on the differences of the
    losses, each times its tokens: exact for a few items, over random flips for more.

    Exchanging the two negates difference and interval, and leaves the p-value. Scores of both are
    given in the same order of items; the arguments are those of `score_interval`.

    Example:
        >>> with_calls, without = [1, 1, 1, 0], [1, 0, 0, 0]
        >>> result = paired_difference(with_calls, without, [1] * 4, metric="accuracy", seed=0)
        >>> result.difference, result.better, result.worse, result.p_value
        (0.5, 2, 0, 0.5)
    """
    first, other, weighed = _arrays(scores, other_scores, weights)
    if metric == "accuracy":
        return _accuracy_difference(first, other, seed)
    return _perplexity_difference(first, other, weighed, seed)


def _wilson_interval(scores: np.ndarray) -> ScoreInterval:
    # Not the bootstrap: 0 right of 50 is 0 in every resample, which would claim certainty.
    bounds = scipy.stats.binomtest(int(scores.sum()), scores.size).proportion_ci(
        confidence_level=CONFIDENCE_LEVEL, method="wilson"
    )
    return ScoreInterval(float(scores.mean()), float(bounds.low), float(bounds.high))


def _accuracy_difference(first: np.ndarray, other: np.ndarray, seed: int) -> PairedDifference:
    items = first.size
    better = int(np.count_nonzero(first > other))
    worse = int(np.count_nonzero(first < other))
    # An item's difference is 1, 0 or -1. A resample of items is therefore known by how often each
    # of the three occurs in it, and these counts are one draw from a multinomial distribution:
    # the same bootstrap, without drawing the items one by one.
    more, fewer = max(better, worse), min(better, worse)
    counts = np.array([more, items - more - fewer, fewer])
    draws = np.random.default_rng(seed).multinomial(items, counts / items, size=RESAMPLES)
    differences = (draws[:, 0] - draws[:, 2]) / items
    # The rarer kind stands last in the draw, so that exchanging the two gives the mirror image.
    # Where neither is rarer the distribution is its own mirror image, and so must the draws be.
    if better < worse:
        differences = -differences
    elif better == worse:
        differences = np.concatenate([differences, -differences])
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    # Not the minus zero that a mirrored 0 is.
    low, high = float(low) + 0.0, float(high) + 0.0
    # If the two never differ, nothing speaks against chance.
    p_value = scipy.stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    difference = (better - worse) / items
    return PairedDifference(items, better, worse, difference, low, high, float(p_value))


def _perplexity_difference(
    first: np.ndarray, other: np.ndarray, tokens: np.ndarray, seed: int
) -> PairedDifference:
    sums = (first * tokens, other * tokens, tokens)
    difference = float(_perplexity_change(*sums, axis=-1))
    if _is_constant(first) and _is_constant(other):
        low = high = difference
    else:
        low, high = _bootstrap_interval(sums, _perplexity_change, seed)
    better = int(np.count_nonzero(first < other))
    worse = int(np.count_nonzero(first > other))
    p_value = _sign_flip_p_value((first - other) * tokens, seed)
    return PairedDifference(first.size, better, worse, difference, low, high, p_value)


def _perplexity(loss_sums: np.ndarray, tokens: np.ndarray, axis: int) -> np.ndarray:
    # Loss sums are in nats per item. The tokens are resampled with them, as they vary by item too.
    return np.exp(loss_sums.sum(axis=axis) / tokens.sum(axis=axis))


def _perplexity_change(
    loss_sums: np.ndarray, other_loss_sums: np.ndarray, tokens: np.ndarray, axis: int
) -> np.ndarray:
    return _perplexity(loss_sums, tokens, axis) - _perplexity(other_loss_sums, tokens, axis)


def _bootstrap_interval(
    data: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], seed: int
) -> tuple[float, float]:
    bounds = scipy.stats.bootstrap(
        data,
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE_LEVEL,
        n_resamples=RESAMPLES,
        batch=_batch_size(data[0].size),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(bounds.low), float(bounds.high)


def _sign_flip_p_value(differences: np.ndarray, seed: int) -> float:
    # Flipping a zero changes nothing, as with the items on which McNemar's two agree.
    differing = differences[differences != 0]
    # One difference is as extreme as its opposite, which is all there is to compare it with.
    if differing.size <= 1:
        return 1.0
    if differing.size <= math.log2(RESAMPLES):
        every_flip = scipy.stats.permutation_test(
            (differing,), np.sum, permutation_type="samples", n_resamples=RESAMPLES
        )
        return float(every_flip.pvalue)
    generator = np.random.default_rng(seed)

    def flipped(size: tuple[int, int]) -> np.ndarray:
        return np.where(generator.integers(0, 2, size=size, dtype=bool), differing, -differing)

    # Not `permutation_test`: with random flips it shuffles pairs one by one and goes through the
    # items in Python, which is tens of times slower for 1,000 items and worse for more.
    random_flips = scipy.stats.monte_carlo_test(
        differing,
        flipped,
        np.sum,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_batch_size(differing.size),
    )
    return float(random_flips.pvalue)


def _batch_size(items: int) -> int:
    return max(1, _BATCH_VALUES // items)


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.all(values == values[0]))


def _arrays(*given: Values) -> list[np.ndarray]:
    return [np.asarray(values, dtype=np.float64) for values in given]
