"""Computes 95 % intervals of scores, and paired differences with significance tests.

The paper reports neither. The methods are those of Wilson (1927), Efron (1979), McNemar (1947) and
Fisher (1935), without correction for multiple comparisons. Items are assumed to be independent, so
the intervals are slightly too narrow if items are windows of the same text.
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
# With the observed value there are 10,000 values, so p-values have at most four decimals.
RESAMPLES = 9_999

# Maximum number of random values per array, which takes 2 MiB.
_BATCH_VALUES = 2**18


@dataclass(frozen=True, slots=True)
class ScoreInterval:
    """Score (share of correct items, or perplexity) and its 95 % interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference between two models or modes on the same items, with its 95 % interval.

    `difference` is the first score minus the other. The first is better if an accuracy difference
    is positive or a perplexity difference negative. `better` and `worse` count the items on which
    the first is better or worse. The p-value is two-sided.
    """

    items: int
    better: int
    worse: int
    difference: float
    low: float
    high: float
    p_value: float


def score_interval(scores: Values, weights: Values, *, metric: Metric, seed: int) -> ScoreInterval:
    """Return the score of a model on a benchmark with its 95 % interval.

    Accuracy uses Wilson's interval, which has a positive width even if all items are right or all
    are wrong. Perplexity uses the percentile bootstrap over items (Efron, 1979). Scores are 0 or 1
    for accuracy, mean losses in nats per token for perplexity. Weights are numbers of tokens for
    perplexity and all equal for accuracy.

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
    # SciPy's bootstrap rejects a single item, and equal losses would yield only rounding errors.
    if _is_constant(values):
        return ScoreInterval(score, score, score)
    return ScoreInterval(score, *_bootstrap_interval(sums, _perplexity, seed))


def paired_difference(
    scores: Values, other_scores: Values, weights: Values, *, metric: Metric, seed: int
) -> PairedDifference:
    """Compare two models, or two modes of one model, item by item; see `score_interval`.

    The interval is the percentile interval of the paired bootstrap (Efron, 1979). The test is the
    exact form of McNemar's (1947) for accuracy. For perplexity it is Fisher's (1935) sign-flip test
    on the loss differences times tokens: exact for few items, with random flips for more. Swapping
    the two models negates difference and interval and keeps the p-value.

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
    # With 0 of 50 items right, every bootstrap resample would be 0, which would suggest certainty.
    bounds = scipy.stats.binomtest(int(scores.sum()), scores.size).proportion_ci(
        confidence_level=CONFIDENCE_LEVEL, method="wilson"
    )
    return ScoreInterval(float(scores.mean()), float(bounds.low), float(bounds.high))


def _accuracy_difference(first: np.ndarray, other: np.ndarray, seed: int) -> PairedDifference:
    items = first.size
    better = int(np.count_nonzero(first > other))
    worse = int(np.count_nonzero(first < other))
    # An item's difference is 1, 0 or -1, so a resample is determined by the counts of these three
    # values. Drawing the counts from a multinomial distribution is the same bootstrap as drawing
    # the items one by one.
    more, fewer = max(better, worse), min(better, worse)
    counts = np.array([more, items - more - fewer, fewer])
    draws = np.random.default_rng(seed).multinomial(items, counts / items, size=RESAMPLES)
    differences = (draws[:, 0] - draws[:, 2]) / items
    # The rarer value comes last in the draw, so that swapping the models mirrors the result. If
    # neither is rarer, the distribution is symmetric, and the draws are made symmetric too.
    if better < worse:
        differences = -differences
    elif better == worse:
        differences = np.concatenate([differences, -differences])
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    # Adding 0.0 turns a mirrored -0.0 into 0.0.
    low, high = float(low) + 0.0, float(high) + 0.0
    # Without differing items, McNemar's test is undefined; chance explains such data fully.
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
    # Tokens are resampled together with the loss sums (in nats), since they vary by item too.
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
    # Flipping the sign of zero changes nothing. McNemar's test drops such items as well.
    differing = differences[differences != 0]
    # A single difference is exactly as extreme as its only alternative, the flipped one.
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

    # `permutation_test` with random flips loops over the items in Python. For 1,000 items it is
    # tens of times slower than this.
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
