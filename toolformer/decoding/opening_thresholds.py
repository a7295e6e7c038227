"""The threshold on the probability of openings whose calls gain most.

An opening is a place of a text where ` [` is among the k likeliest tokens, and the model goes on
with the name of a tool. How likely that is (p(` [`) · p(tool | ` [`), see `triggers`) and what the
call gains there, as the model writes it and with its result, in nats, is measured. Of all
thresholds the best one is that with the largest

    total(t) = sum of weight * gain over all openings with at least the probability t

of equal ones the largest; where none gains anything that is one above all probabilities, with which
no call opens.
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
    """A place where a call can open, and what it would do there.

    Attributes:
        probability: of ` [` and the tool's name.
        gain: by how much the call with its result lowers the loss behind it, in nats; 0 for a call
            that decoding takes back.
        weight: how many openings it stands for; see `sampled`.
        tool: that the model calls there; None where that is not known.
    """

    probability: float
    gain: float
    is_kept: bool
    weight: int = 1
    tool: str | None = None


def sampled(ranked: Sequence[ItemT], *, count: int) -> list[tuple[ItemT, int]]:
    """A systematic sample, dense at the beginning: the middle of each of some groups.

    The groups follow each other, and their sizes grow evenly: the first are of one, the last of
    about `2 * len(ranked) / count`.

    Returns:
        Items, each with the size of its group; all of them with 1 where they are no more than
        `count`.

    Example:
        >>> sampled("abcdefghijkl", count=5)
        [('a', 1), ('c', 3), ('f', 3), ('j', 5)]
    """
    if len(ranked) <= count:
        return [(item, 1) for item in ranked]
    ends = sorted({len(ranked) * step**2 // count**2 for step in range(count + 1)})
    return [(ranked[(start + end) // 2], end - start) for start, end in pairwise(ends)]


def best_threshold(openings: Iterable[Opening], *, kept_weight: float = 1.0) -> float:
    """The threshold whose calls gain most in total; of equal ones the largest.

    Args:
        openings: at least one.
        kept_weight: how often an opening counts at which a kept call stands.

    Returns:
        A probability that occurs, below 1; one above all, 1 at most, where none gains anything.

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
            # 1 itself disables calls.
            best, largest = min(threshold, math.nextafter(1, 0)), total
    return best


def prompt_threshold(openings: Sequence[Opening], *, kept_weight: float) -> float:
    """The middle of the thresholds that cannot be told from the best one.

    Few openings lie between a low threshold and one ten times as high, so that their totals differ
    by chance, while prompts may well lie there: those of one family of questions do not open where
    calls are wanted, those of another open everywhere, and spend on it the one call of an answer.
    The middle is far from both ends.

    Args:
        openings: at least one.
        kept_weight: how often an opening counts at which a kept call stands.

    Returns:
        The geometric mean of the best threshold and of the largest one whose total is less by no
        more than one standard error: the root of the sum of the squared gains between them. If the
        total at the mean is less by more than that, the next threshold below it that is not: a
        higher one would give up calls that gain.

    Example:
        >>> openings = [Opening(0.4, 2, True), Opening(0.01, 0.5, True), Opening(0.01, -0.4, False)]
        >>> best_threshold(openings), round(prompt_threshold(openings, kept_weight=1), 3)
        (0.01, 0.063)
    """

    def gain(opening: Opening) -> float:
        return opening.weight * opening.gain * (kept_weight if opening.is_kept else 1)

    best = best_threshold(openings, kept_weight=kept_weight)
    thresholds, alike, lost, variance = [best], [best], 0.0, 0.0
    above = sorted((each for each in openings if each.probability >= best), key=_probability)
    for threshold, equal in groupby(above, _probability):
        thresholds.append(threshold)
        if lost <= math.sqrt(variance):
            alike.append(threshold)
        for opening in equal:
            lost += gain(opening)
            variance += gain(opening) ** 2
    if alike[-1] <= best:
        return best
    # 1 itself disables calls.
    middle = min(math.sqrt(best * alike[-1]), math.nextafter(1, 0))
    # It opens what the next threshold above it opens.
    if min(each for each in thresholds if each >= middle) in alike:
        return middle
    return max(each for each in alike if each <= middle)
