"""Finds the minimum opening probability that maximises the total gain of calls.

An opening is a position of a text where ` [` is among the k most likely tokens and the model then
names a tool. The best threshold t has the largest

    total(t) = sum of weight * gain over all openings whose probability is at least t

Of equally good thresholds, the largest counts as the best.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TypeVar

ItemT = TypeVar("ItemT")
_probability = attrgetter("probability")


@dataclass(frozen=True, slots=True)
class Opening:
    """A position where a call can open, and what the call would gain there.

    Attributes:
        probability: p(` [`) · p(tool | ` [`).
        gain: by how much the call with its result lowers the loss of the text after it, in nats; 0
            for a call that decoding undoes.
        weight: number of openings that this one represents; see `sampled`.
    """

    probability: float
    gain: float
    is_kept: bool
    weight: int = 1
    tool: str | None = None


def sampled(ranked: Sequence[ItemT], *, count: int) -> list[tuple[ItemT, int]]:
    """Sample about `count` items, denser at the start; pair each with the number it represents.

    Example:
        >>> sampled("abcdefghijkl", count=5)
        [('a', 1), ('c', 3), ('f', 3), ('j', 5)]
    """
    if len(ranked) <= count:
        return [(item, 1) for item in ranked]
    ends = sorted({len(ranked) * step**2 // count**2 for step in range(count + 1)})
    return [(ranked[(start + end) // 2], end - start) for start, end in pairwise(ends)]


def best_threshold(openings: Iterable[Opening], *, kept_weight: float = 1.0) -> float:
    """Return the best threshold; if none gains anything, a number above all probabilities.

    `openings` must not be empty. Openings at kept calls count `kept_weight` times.

    Example:
        >>> harmful, helpful = Opening(0.2, -0.4, False), Opening(0.1, 0.3, True)
        >>> openings = [harmful, helpful, Opening(0.3, 0.1, True)]
        >>> best_threshold(openings), best_threshold(openings, kept_weight=2)
        (0.3, 0.1)
    """
    ranked = sorted(openings, key=_probability, reverse=True)
    best, total = math.nextafter(ranked[0].probability, 1), Fraction(0)
    largest = total
    for threshold, equal in groupby(ranked, _probability):
        for opening in equal:
            weight = opening.weight * (Fraction(kept_weight) if opening.is_kept else 1)
            total += weight * Fraction(opening.gain)
        if total > largest:
            # A threshold of 1 would disable calls.
            best, largest = min(threshold, math.nextafter(1, 0)), total
    return best


def prompt_threshold(openings: Sequence[Opening], *, kept_weight: float) -> float:
    """Return the middle of the range of thresholds that are as good as the best, up to chance.

    Few of `openings` may lie between a low threshold and one ten times as high, although those of
    many prompts do. At the upper end of the range, too few calls would open for some kinds of
    questions; at the lower end, too many.

    The result is the geometric mean of the best threshold and the largest one whose total is lower
    by at most one standard error: the root of the summed squared gains between the two thresholds.
    If the total at the mean is lower by more than that, the result is the next lower threshold
    whose total is not.

    Example:
        >>> openings = [Opening(0.4, 2, True), Opening(0.01, 0.5, True), Opening(0.01, -0.4, False)]
        >>> best_threshold(openings), round(prompt_threshold(openings, kept_weight=1), 3)
        (0.01, 0.063)
    """

    def gain(opening: Opening) -> float:
        return opening.weight * opening.gain * (kept_weight if opening.is_kept else 1)

    best = best_threshold(openings, kept_weight=kept_weight)
    thresholds, equivalent, lost, variance = [best], [best], 0.0, 0.0
    above = sorted((each for each in openings if each.probability >= best), key=_probability)
    for threshold, equal in groupby(above, _probability):
        thresholds.append(threshold)
        if lost <= math.sqrt(variance):
            equivalent.append(threshold)
        for opening in equal:
            lost += gain(opening)
            variance += gain(opening) ** 2
    if equivalent[-1] <= best:
        return best
    # A threshold of 1 would disable calls.
    middle = min(math.sqrt(best * equivalent[-1]), math.nextafter(1, 0))
    # The middle opens the same calls as the next threshold above it.
    if min(each for each in thresholds if each >= middle) in equivalent:
        return middle
    return max(each for each in equivalent if each <= middle)
