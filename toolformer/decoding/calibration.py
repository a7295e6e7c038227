"""The minimum probabilities with which a model opens calls, chosen on texts that were held back.

How likely openings are and what their calls gain was measured at openings of texts with kept calls
and without (`call_chances`, `call_gains`); `opening_thresholds` says which threshold is the best.

A tool with enough texts has a threshold of its own, chosen from its openings alone: the total of
all tools is the sum of theirs. The other tools share one, chosen from their openings together: what
is right for a tool with many texts says nothing about a tool that the model hardly learnt.

Each is two, for two uses. Within a text that goes on every place counts once. A prompt is a
prefix that ends at a place, and its author ends it where something is wanted: there the prefixes
that end at kept places count as much, all together, as those that end elsewhere. Prompts are not
development texts, though: see `prompt_threshold`.
"""

import functools
import json
import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path

from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.completions import CLOSED, MinCallProbability
from toolformer.decoding.opening_thresholds import Opening, best_threshold, prompt_threshold
from toolformer.errors import ToolformerError
from toolformer.json_files import read_dataclass

_LOGGER = logging.getLogger(__name__)
_warn_once = functools.cache(_LOGGER.warning)
# Below this, one text more or less moves the choice at will.
MIN_TEXTS_WITH_CALLS = 8
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
        min_call_probability: threshold for all tokens of a text but the first, for tools without
            their own; None where none was chosen, which counts as `CLOSED`.
        min_call_probability_behind_prompt: threshold for the first token behind a prompt.
        min_call_probability_by_tool: both for the tools that have their own.
        reason: why none was chosen; None where both were.
        texts_with_calls, texts_without_calls: that they were chosen on.
        kept_places: places of these texts where a kept call stands.
        other_places: the others where a call could stand.
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
            sum(opening.weight for opening in opened if opening.is_kept is is_kept)
            for is_kept in (True, False)
        )
        return (
            f"{threshold:.4g}, at which a call opens at {kept} of {self.kept_places} kept places "
            f"of development texts and at {others} of {self.other_places} others."
        )


def too_few_texts_reason(*, with_calls: int) -> str | None:
    """Why so many texts cannot tell thresholds apart; None where they can."""
    if with_calls >= MIN_TEXTS_WITH_CALLS:
        return None
    return (
        f"{with_calls} development texts have calls, expected at least {MIN_TEXTS_WITH_CALLS} to "
        "choose by"
    )


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
        kept_places: at least one.
        texts_by_tool: how many texts have a kept call of each tool; one with fewer than
            `MIN_TEXTS_WITH_CALLS` has no thresholds of its own.

    Returns:
        The choice; none where no call could open in any text.
    """
    kept_weight = max(other_places, 1) / kept_places

    def chosen(of: Sequence[Opening]) -> tuple[float, float]:
        return best_threshold(of), prompt_threshold(of, kept_weight=kept_weight)

    by_tool = {
        tool: ToolThresholds(*chosen(of_tool), texts_by_tool[tool])
        for tool in sorted(texts_by_tool)
        if texts_by_tool[tool] >= MIN_TEXTS_WITH_CALLS
        and (of_tool := [opening for opening in openings if opening.tool == tool])
        # Of one tool alone they are the same.
        and len(of_tool) < len(openings)
    }
    of_others = [opening for opening in openings if opening.tool not in by_tool] or openings
    in_text, behind_prompt = chosen(of_others) if of_others else (None, None)
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
    return json.dumps(asdict(chosen), indent=1) + "\n"


def read_min_call_probability(directory: Path) -> CalibratedProbability | None:
    """What was chosen for the model of a directory; None where nobody has looked.

    Raises:
        ToolformerError: the file is not valid.
    """
    file = directory / MIN_CALL_PROBABILITY_FILE
    try:
        stored = read_dataclass(file, CalibratedProbability)
        values = stored.values
        if stored.reason is None if values is None else not values.is_in_range:
            raise ValueError(f"its values are {values}, its reason {stored.reason!r}")
        return stored
    except (FileNotFoundError, NotADirectoryError):
        return None
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
