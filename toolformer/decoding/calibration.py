"""The minimum probabilities with which a model opens calls, chosen on texts that were held back.

An opening is a place of a text where ` [` is among the k likeliest tokens, and the model goes on
with the name of a tool. How likely that is (p(` [`) · p(tool | ` [`), see `triggers`) and what the
call gains there, as the model writes it and with its result, in nats, was measured at openings of
texts with kept calls and without (`call_chances`, `call_gains`). Of all thresholds the one is
chosen with the largest

    total(t) = sum of weight * gain over all openings with at least the probability t

of equal ones the largest; where none gains anything that is one above all probabilities, with which
no call opens.

A tool with enough texts has a threshold of its own, chosen from its openings alone: the total of
all tools is the sum of theirs. For the other tools it is chosen from all openings.

Each is two, for two uses. Within a text that goes on every place counts once. A prompt is a
prefix that ends at a place, and its author ends it where something is wanted: there the prefixes
that end at kept places count as much, all together, as those that end elsewhere. Prompts are not
development texts, though: see `threshold_behind_prompt`.
"""

import functools
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json

from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.base.sealed import sealed, unsealed
from toolformer.decoding.completions import CLOSED, MinCallProbability
from toolformer.errors import ToolformerError

_LOGGER = logging.getLogger(__name__)
_warn_once = functools.cache(_LOGGER.warning)
# Below this, one text more or less moves the choice at will.
MIN_TEXTS_WITH_CALLS = 8
ItemT = TypeVar("ItemT")
_NOT_LOOKED_AT = (
    f"the model has no {MIN_CALL_PROBABILITY_FILE} (`toolformer train`, or the asset "
    "`min_call_probability`, makes it for the models that are trained here)"
)
_CLOSING = "No value gains anything there, so with it no call opens."
_TO_OPEN = (
    "To have calls all the same, set decoding.min_call_probability to a number; with 0 k alone "
    "decides, as in the paper."
)


@dataclass(frozen=True, slots=True)
class Opening:
    """A place where a call can open, and what it would do there.

    Attributes:
        probability: of ` [` and the tool's name.
        gain: by how much the call with its result lowers the loss behind it, in nats; 0 for a call
            that decoding takes back.
        is_kept: whether a kept call stands there.
        weight: how many openings it stands for; see `sampled`.
        tool: that the model calls there; None where that is not known.
    """

    probability: float
    gain: float
    is_kept: bool
    weight: int = 1
    tool: str | None = None


@dataclass(frozen=True, slots=True)
class ToolThresholds:
    """Those of a tool that has its own: for all tokens of a text but the first, and for the first.

    Attributes:
        texts_with_calls: with a kept call of this tool.
    """

    in_text: float
    behind_prompt: float
    texts_with_calls: int


@dataclass(frozen=True, slots=True)
class CalibratedProbability:
    """What was chosen, or why nothing was.

    Attributes:
        min_call_probability: threshold for all tokens of a text but the first; None where none was
            chosen, which counts as `CLOSED`.
        min_call_probability_behind_prompt: threshold for the first token behind a prompt.
        min_call_probability_by_tool: both for the tools that have their own.
        reason: why none was chosen; None where both were.
        texts_with_calls, texts_without_calls: that they were chosen on.
        kept_places: places of these texts where a kept call stands.
        other_places: the others where a call could stand.
        openings: that were measured.
    """

    min_call_probability: float | None
    min_call_probability_behind_prompt: float | None
    reason: str | None
    call_top_k: int
    texts_with_calls: int
    texts_without_calls: int
    kept_places: int = 0
    other_places: int = 0
    openings: tuple[Opening, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)
    min_call_probability_by_tool: Mapping[str, ToolThresholds] = field(default_factory=dict)

    @property
    def values(self) -> MinCallProbability | None:
        """All thresholds; None where none was chosen."""
        in_text, behind = self.min_call_probability, self.min_call_probability_behind_prompt
        if in_text is None or behind is None:
            return None
        by_tool = {
            tool: MinCallProbability(own.in_text, own.behind_prompt)
            for tool, own in self.min_call_probability_by_tool.items()
        }
        return MinCallProbability(in_text, behind, by_tool)

    @property
    def summary(self) -> str:
        """The choice in a few sentences."""
        if self.values is None:
            return (
                "No call opens, since no minimum call probability was calibrated: "
                f"{self.reason}. {_TO_OPEN}"
            )
        own = self.values.by_tool
        told = [self._of(f" of {tool}", values, {tool}) for tool, values in own.items()]
        others = {opening.tool for opening in self.openings} - own.keys()
        if others or not own:
            told.append(self._of(" of other tools" if own else "", self.values, others))
        return " ".join([*told, *[_TO_OPEN] * any(_CLOSING in each for each in told)])

    def _of(self, whose: str, values: MinCallProbability, tools: Set[str | None]) -> str:
        openings = [opening for opening in self.openings if opening.tool in tools]
        return (
            f"Minimum call probability{whose} in running text: "
            f"{self._described(values.in_text, openings)} "
            f"Behind a prompt: {self._described(values.behind_prompt, openings)}"
        )

    def _described(self, threshold: float, openings: Sequence[Opening]) -> str:
        opened = [opening for opening in openings if opening.probability >= threshold]
        if not opened:
            return f"{threshold:.4g}. {_CLOSING}"
        kept, others = (
            [opening for opening in opened if opening.is_kept is is_kept]
            for is_kept in (True, False)
        )
        return (
            f"{threshold:.4g}, at which a call opens at {_counted(kept)} of {self.kept_places} "
            f"kept places of development texts{_mean(kept)} and at {_counted(others)} of "
            f"{self.other_places} others{_mean(others)}."
        )


def _counted(openings: Iterable[Opening]) -> int:
    return sum(opening.weight for opening in openings)


def _mean(openings: Sequence[Opening]) -> str:
    if not openings:
        return ""
    gain = sum(opening.weight * opening.gain for opening in openings) / _counted(openings)
    return f" (mean gain {gain:.4f} nats)"


def why_too_few(*, with_calls: int) -> str | None:
    """Why so many texts cannot tell thresholds apart; None where they can."""
    if with_calls >= MIN_TEXTS_WITH_CALLS:
        return None
    return (
        f"{with_calls} development texts have calls, expected at least {MIN_TEXTS_WITH_CALLS} to "
        "choose by"
    )


def sampled(ranked: Sequence[ItemT], *, count: int) -> list[tuple[ItemT, int]]:
    """A systematic sample, dense at the beginning: the middle of each of some groups.

    The groups follow each other, and their sizes grow evenly: the first are of one, the last of
    about `2 * len(ranked) / count`.

    Args:
        ranked: in some order.
        count: most that are taken.

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


def threshold_behind_prompt(openings: Sequence[Opening], *, kept_weight: float) -> float:
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
        more than one standard error: the root of the sum of the squared gains between them. Where
        the total there is less by more than that, the next threshold above it that is not.

    Example:
        >>> openings = [Opening(0.4, 2, True), Opening(0.01, 0.5, True), Opening(0.01, -0.4, False)]
        >>> best_threshold(openings), round(threshold_behind_prompt(openings, kept_weight=1), 3)
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
    next_alike = min(each for each in alike if each >= middle)
    is_alike = min(each for each in thresholds if each >= middle) == next_alike
    return middle if is_alike else next_alike


def _probability(opening: Opening) -> float:
    return opening.probability


def choose_min_call_probability(
    openings: Sequence[Opening],
    *,
    call_top_k: int,
    texts_with_calls: int,
    texts_without_calls: int,
    kept_places: int,
    other_places: int,
    texts_by_tool: Mapping[str, int],
) -> CalibratedProbability:
    """Choose the thresholds; see `CalibratedProbability` for what they are chosen from.

    Args:
        call_top_k: k that the openings are of.
        kept_places: at least one.
        texts_by_tool: how many texts have a kept call of each tool; one with fewer than
            `MIN_TEXTS_WITH_CALLS` has no thresholds of its own.

    Returns:
        The choice; none where no call could open in any text.
    """
    kept_weight = max(other_places, 1) / kept_places

    def chosen(of: Sequence[Opening]) -> tuple[float, float]:
        return best_threshold(of), threshold_behind_prompt(of, kept_weight=kept_weight)

    in_text, behind_prompt = chosen(openings) if openings else (None, None)
    by_tool = {
        tool: ToolThresholds(*chosen(of_tool), texts_by_tool[tool])
        for tool in sorted(texts_by_tool)
        if texts_by_tool[tool] >= MIN_TEXTS_WITH_CALLS
        and (of_tool := [opening for opening in openings if opening.tool == tool])
        # Of one tool alone they are the same.
        and len(of_tool) < len(openings)
    }
    return CalibratedProbability(
        in_text,
        behind_prompt,
        None
        if openings
        else f"nowhere is the opening of a call among the {call_top_k} likeliest tokens, with the "
        "name of a tool behind it",
        call_top_k,
        texts_with_calls,
        texts_without_calls,
        kept_places,
        other_places,
        tuple(openings),
        min_call_probability_by_tool=by_tool,
    )


def min_call_probability_text(chosen: CalibratedProbability) -> str:
    """The file of a choice, as JSON."""
    return json.dumps(sealed(asdict(chosen)), indent=1) + "\n"


def read_min_call_probability(directory: Path) -> CalibratedProbability | None:
    """What was chosen for the model of a directory; None where nobody has looked.

    Raises:
        ToolformerError: the file is damaged.
    """
    file = directory / MIN_CALL_PROBABILITY_FILE
    try:
        names = [each.name for each in fields(CalibratedProbability)]
        content = unsealed(from_json(file.read_bytes()), names)
        stored = TypeAdapter(CalibratedProbability).validate_python(content)
        values = stored.values
        if stored.reason is None if values is None else not values.is_in_range:
            raise ValueError(f"its values are {values}, its reason {stored.reason!r}")
        return stored
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Of pydantic, too.
    except ValueError as error:
        raise ToolformerError(
            f"{str(file)!r} is damaged: {error}. Expected what `toolformer train` writes. Delete "
            "it and run `toolformer train` again, or set decoding.min_call_probability to a number."
        ) from error


def min_call_probability(
    directory: Path | None, given: float | Mapping[str, float] | None
) -> MinCallProbability:
    """The minimum probabilities with which a model opens calls; whoever decodes asks here.

    Args:
        directory: directory of the model; None where it was not loaded from one.
        given: what the user set, for all tools or by tool. 0 leaves k alone to decide, as in the
            paper; None stands for the calibrated values, which also hold for tools that are not
            named.

    Returns:
        The values; `CLOSED` where none is given and none was calibrated, since nothing says that
        its calls help. The log says so once.

    Raises:
        ToolformerError: the model's calibration is damaged.
    """
    if isinstance(given, (int, float)):
        return CLOSED.changed(given)
    stored = read_min_call_probability(directory) if directory else None
    if stored is not None and stored.values is not None:
        return stored.values.changed(given)
    if not given:
        closed = stored or CalibratedProbability(None, None, _NOT_LOOKED_AT, 0, 0, 0)
        _warn_once(f"{directory or 'The model'}: {closed.summary}")
    return CLOSED.changed(given)
