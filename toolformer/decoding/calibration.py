"""Chooses the minimum probabilities for a model to open calls, from development texts.

`call_gains` measures the probability and gain of openings; `opening_thresholds` finds thresholds. A
tool with enough texts gets its own thresholds. The other tools share thresholds that are chosen
from their own openings, because a tool with many texts says nothing about one that the model hardly
learnt.

Each tool has two thresholds. For running text, every opening counts once. For the first token after
a prompt, positions with kept calls count as much in total as all other positions, because authors
end prompts where they want an answer.
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
# With fewer texts, a single text can change the choice arbitrarily.
MIN_TEXTS_WITH_CALLS = 8
_NOT_CALIBRATED = (
    f"the model has no {MIN_CALL_PROBABILITY_FILE} (`toolformer train` and the asset "
    "`min_call_probability` write it for models trained here)"
)
_NO_GAIN = "No threshold gains anything there, so no call opens."
_ALLOW_CALLS = (
    "To allow calls anyway, set decoding.min_call_probability to a number; with 0 only the rank k "
    "decides, as in the paper."
)


@dataclass(frozen=True, slots=True)
class ToolThresholds:
    in_text: float
    behind_prompt: float
    texts_with_calls: int


@dataclass(frozen=True, slots=True)
class CalibratedProbability:
    """The chosen thresholds, or the reason why none was chosen.

    Attributes:
        min_call_probability: threshold in running text for tools without their own; None counts as
            `CLOSED`.
        kept_places, other_places: numbers of positions with a kept call, and of all others.
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
        in_text, after_prompt = self.min_call_probability, self.min_call_probability_behind_prompt
        if in_text is None or after_prompt is None:
            return None
        by_tool = {
            tool: MinCallProbability(own.in_text, own.behind_prompt)
            for tool, own in self.min_call_probability_by_tool.items()
        }
        return MinCallProbability(in_text, after_prompt, by_tool)

    @property
    def summary(self) -> str:
        if self.values is None:
            return (
                "No call opens, since no minimum call probability was calibrated: "
                f"{self.reason}. {_ALLOW_CALLS}"
            )
        own = self.values.by_tool
        texts = [self._described(f" of {tool}", values, {tool}) for tool, values in own.items()]
        others = {opening.tool for opening in self.openings} - own.keys()
        if others or not own:
            texts.append(self._described(" of other tools" if own else "", self.values, others))
        return " ".join([*texts, *[_ALLOW_CALLS] * any(_NO_GAIN in text for text in texts)])

    def _described(self, whose: str, values: MinCallProbability, tools: Set[str | None]) -> str:
        openings = [opening for opening in self.openings if opening.tool in tools]
        return (
            f"Minimum call probability{whose} in running text: "
            f"{self._with_counts(values.in_text, openings)} "
            f"After a prompt: {self._with_counts(values.behind_prompt, openings)}"
        )

    def _with_counts(self, threshold: float, openings: Sequence[Opening]) -> str:
        opened = [opening for opening in openings if opening.probability >= threshold]
        if not opened:
            return f"{threshold:.4g}. {_NO_GAIN}"
        kept, others = (
            sum(opening.weight for opening in opened if opening.is_kept is is_kept)
            for is_kept in (True, False)
        )
        return (
            f"{threshold:.4g}, which opens a call at {kept} of {self.kept_places} positions with "
            f"kept calls in development texts and at {others} of {self.other_places} others."
        )


def too_few_texts_reason(*, with_calls: int) -> str | None:
    """Return why a threshold cannot be chosen from so few texts; None if it can."""
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
    """Choose the thresholds; `kept_places` is positive.

    `texts_by_tool` has each tool's number of texts with kept calls. A tool with fewer than
    `MIN_TEXTS_WITH_CALLS` gets no thresholds of its own.
    """
    kept_weight = max(other_places, 1) / kept_places

    def choose(among: Sequence[Opening]) -> tuple[float, float]:
        return best_threshold(among), prompt_threshold(among, kept_weight=kept_weight)

    by_tool = {
        tool: ToolThresholds(*choose(of_tool), texts_by_tool[tool])
        for tool in sorted(texts_by_tool)
        if texts_by_tool[tool] >= MIN_TEXTS_WITH_CALLS
        and (of_tool := [opening for opening in openings if opening.tool == tool])
        # A single tool uses the shared thresholds, which would be the same.
        and len(of_tool) < len(openings)
    }
    of_others = [opening for opening in openings if opening.tool not in by_tool] or openings
    in_text, behind_prompt = choose(of_others) if of_others else (None, None)
    return CalibratedProbability(
        in_text,
        behind_prompt,
        None
        if openings
        else f"at no position is the opening of a call among the {call_top_k} most likely tokens, "
        "followed by the name of a tool",
        call_top_k,
        texts_with_calls,
        texts_without_calls,
        kept_places,
        other_places,
        tuple(openings),
        min_call_probability_by_tool=by_tool,
    )


def min_call_probability_text(chosen: CalibratedProbability) -> str:
    return json.dumps(asdict(chosen), indent=1) + "\n"


def read_min_call_probability(directory: Path) -> CalibratedProbability | None:
    """Read a model's calibration; return None without one, raise ToolformerError if damaged."""
    file = directory / MIN_CALL_PROBABILITY_FILE
    try:
        stored = read_dataclass(file, CalibratedProbability)
        values = stored.values
        if stored.reason is None if values is None else not values.is_in_range:
            raise ValueError(
                f"its probabilities are {values} and its reason is {stored.reason!r}; expected "
                "probabilities from 0 to 1, or a reason for having none"
            )
        return stored
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ToolformerError(
            f"{str(file)!r} is damaged: {error}. Expected the file that `toolformer train` writes. "
            "Delete it and run `toolformer train` again, or set decoding.min_call_probability to a "
            "number."
        ) from error


def min_call_probability(
    directory: Path | None, given: float | Mapping[str, float] | None
) -> MinCallProbability:
    """Return the minimum probabilities for calls to open; all kinds of decoding call this.

    Values `given` by the user take precedence over calibrated ones. Without either, `CLOSED` is
    returned and logged once, since nothing shows that the model's calls help. Raise ToolformerError
    if the calibration is damaged.
    """
    if isinstance(given, (int, float)):
        return CLOSED.changed(given)
    stored = read_min_call_probability(directory) if directory else None
    if stored is not None and stored.values is not None:
        return stored.values.changed(given)
    if not given:
        closed = stored or CalibratedProbability(None, None, _NOT_CALIBRATED, 0, 0, 0)
        _warn_once(f"{directory or 'The model'}: {closed.summary}")
    return CLOSED.changed(given)
