"""The minimum probability with which a model opens a call, chosen on texts that were held back.

A threshold t opens the first call of a text where ` [` is among the k likeliest tokens and has at
least the probability t. What this first call, as the model writes it, gains with its result, in
nats, was measured at each place where some t has it. Of all t the one is chosen with the largest

    score(t) = mean gain of the texts with kept calls + mean gain of the texts without

where a text in which t opens no call gains 0, and a mean of no texts is 0. It gains most where
calls help, and loses least where they do not: a call in a text without kept calls counts by the
harm that it does there, not by being one. A t above all probabilities opens nothing, gains nothing
and loses nothing: where no other has a larger score, it is chosen. `call_chances` and `call_gains`
measure.
"""

import functools
import itertools
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter
from pydantic_core import from_json

from toolformer.decoding.completions import CLOSED
from toolformer.errors import ToolformerError
from toolformer.files.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.files.sealed import sealed, unsealed

_LOGGER = logging.getLogger(__name__)
# Below this, one text more or less moves the choice at will.
MIN_TEXTS_WITH_CALLS = 8
# Every float is a whole multiple of its inverse, so sums of such multiples are exact.
_WHOLE = 1 << 1074
_NOT_LOOKED_AT = (
    f"the model has no {MIN_CALL_PROBABILITY_FILE} (`toolformer train`, or the asset "
    "`min_call_probability`, makes it for the models that are trained here)"
)
_TO_OPEN = (
    "To have calls all the same, set decoding.min_call_probability to a number; with 0 k alone "
    "decides, as in the paper."
)
_NO_GAIN = (
    f" No value gains anything on these texts, so with this one no call opens in them. {_TO_OPEN}"
)


class Opening(NamedTuple):
    """A place where the first call of a text opens for some threshold.

    Attributes:
        gain: by how much the call with its result lowers the loss behind it, in nats; 0 for a call
            that decoding takes back.
        is_right: whether a kept call stands there.
    """

    probability: float
    gain: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class MeasuredText:
    """A text, and what its first call would do to it.

    Attributes:
        openings: in the order of the text, each likelier than those before it; see
            `toolformer.decoding.triggers.first_openings`.
        has_calls: whether it has kept calls.
    """

    openings: Sequence[Opening]
    has_calls: bool


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a threshold does.

    Attributes:
        gain_with_calls: mean gain of the texts with kept calls, in nats.
        gain_without_calls: the same of the texts without.
        opened_with_calls: texts with kept calls in which a call opens.
        opened_without_calls: the same of the texts without.
        right: texts with kept calls whose first opened call stands where a kept one stands.
    """

    threshold: float
    gain_with_calls: float
    gain_without_calls: float
    opened_with_calls: int
    opened_without_calls: int
    right: int

    @property
    def score(self) -> float:
        """The sum of both means, in nats."""
        return self.gain_with_calls + self.gain_without_calls


@dataclass(frozen=True, slots=True)
class CalibratedProbability:
    """What was chosen, or why nothing was.

    Attributes:
        min_call_probability: the threshold; None where none was chosen, which counts as
            `CLOSED`.
        reason: why none was; None where one was.
        texts_with_calls, texts_without_calls: that it was chosen on.
        curve: a point for each threshold at which something changes, ascending.
    """

    min_call_probability: float | None
    reason: str | None
    call_top_k: int
    texts_with_calls: int
    texts_without_calls: int
    curve: tuple[CurvePoint, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> CurvePoint | None:
        """What the chosen threshold does."""
        at = self.min_call_probability
        return next((point for point in self.curve if point.threshold == at), None)

    @property
    def summary(self) -> str:
        """The choice in a line."""
        if self.min_call_probability is None:
            return (
                "No call opens, since no minimum call probability was calibrated: "
                f"{self.reason}. {_TO_OPEN}"
            )
        message = f"Minimum call probability: {self.min_call_probability:.4g}"
        point = self.chosen
        if point is None:
            return f"{message}."
        return (
            f"{message}, at which a call opens in {point.opened_with_calls} of "
            f"{self.texts_with_calls} development texts with calls ({point.right} at the place of "
            f"a kept one) and in {point.opened_without_calls} of {self.texts_without_calls} "
            f"without; the mean gain is {point.gain_with_calls:.4f} nats with and "
            f"{point.gain_without_calls:.4f} without.{'' if point.score > 0 else _NO_GAIN}"
        )


def why_too_few(*, with_calls: int) -> str | None:
    """Why so many texts cannot tell thresholds apart; None where they can."""
    if with_calls >= MIN_TEXTS_WITH_CALLS:
        return None
    return (
        f"{with_calls} development texts have calls, expected at least {MIN_TEXTS_WITH_CALLS} to "
        "choose by"
    )


def choose_min_call_probability(
    texts: Sequence[MeasuredText], *, call_top_k: int
) -> CalibratedProbability:
    """Choose the threshold with the largest score; of equal ones the largest.

    Args:
        call_top_k: k that the openings are of.

    Returns:
        The choice; none with fewer than `MIN_TEXTS_WITH_CALLS` texts with calls, or where no
        call could open in any.

    Example:
        >>> helps = MeasuredText([Opening(0.1, 0.0, False), Opening(0.4, 0.5, True)], True)
        >>> harmless = MeasuredText([Opening(0.6, -0.1, False)], False)
        >>> chosen = choose_min_call_probability([helps] * 8 + [harmless], call_top_k=10)
        >>> chosen.min_call_probability
        0.4
    """
    with_calls = [text.openings for text in texts if text.has_calls]
    without_calls = [text.openings for text in texts if not text.has_calls]
    curve: tuple[CurvePoint, ...] = ()
    reason = why_too_few(with_calls=len(with_calls))
    if reason is None:
        curve = _curve(with_calls, without_calls)
        if not curve:
            reason = f"the opening of a call is nowhere among the {call_top_k} likeliest tokens"
    best = max(curve, key=lambda point: (point.score, point.threshold), default=None)
    return CalibratedProbability(
        min_call_probability=best and best.threshold,
        reason=reason,
        call_top_k=call_top_k,
        texts_with_calls=len(with_calls),
        texts_without_calls=len(without_calls),
        curve=curve,
    )


def _curve(
    with_calls: Sequence[Sequence[Opening]], without_calls: Sequence[Sequence[Opening]]
) -> tuple[CurvePoint, ...]:
    """All thresholds at which something changes, from the smallest on; the last opens nothing."""
    texts = (*with_calls, *without_calls)
    thresholds = sorted({opening.probability for openings in texts for opening in openings})
    if thresholds and thresholds[-1] < 1:
        thresholds.append(math.nextafter(thresholds[-1], 1))
    opened_with, opened_without = _Opened(with_calls), _Opened(without_calls)
    points = []
    for threshold in thresholds:
        opened_with.raise_to(threshold)
        opened_without.raise_to(threshold)
        points.append(
            CurvePoint(
                threshold=threshold,
                gain_with_calls=opened_with.mean_gain,
                gain_without_calls=opened_without.mean_gain,
                opened_with_calls=opened_with.count,
                opened_without_calls=opened_without.count,
                right=opened_with.right,
            )
        )
    return tuple(points)


class _Opened:
    """The first openings of texts at a threshold that rises: how many, how many right, their gain.

    Args:
        texts: the openings of each, each likelier than those before it.
    """

    def __init__(self, texts: Sequence[Sequence[Opening]]):
        self.count = self.right = 0
        self._texts = len(texts)
        self._gain = 0
        # Each opening and the one that takes its place, the likeliest first.
        self._ends: list[tuple[Opening, Opening | None]] = []
        for openings in texts:
            self._count(next(iter(openings), None), 1)
            self._ends += itertools.zip_longest(openings, openings[1:])
        self._ends.sort(key=lambda pair: pair[0].probability, reverse=True)

    def raise_to(self, threshold: float) -> None:
        while self._ends and self._ends[-1][0].probability < threshold:
            opening, following = self._ends.pop()
            self._count(opening, -1)
            self._count(following, 1)

    @property
    def mean_gain(self) -> float:
        # Exactly rounded: thresholds that open the same calls have the same score.
        return self._gain / _WHOLE / max(self._texts, 1)

    def _count(self, opening: Opening | None, times: int) -> None:
        if opening is not None:
            self.count += times
            self.right += times * opening.is_right
            numerator, denominator = opening.gain.as_integer_ratio()
            self._gain += times * numerator * (_WHOLE // denominator)


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
        probability = stored.min_call_probability
        is_sound = stored.reason is not None if probability is None else 0 <= probability <= 1
        if not is_sound:
            raise ValueError(f"min_call_probability is {probability}")
        return stored
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Of pydantic, too.
    except ValueError as error:
        raise ToolformerError(
            f"{str(file)!r} is damaged: {error}. Expected what `toolformer train` writes. Delete "
            "it and run `toolformer train` again, or set decoding.min_call_probability to a number."
        ) from error


def min_call_probability(directory: Path | None, given: float | None) -> float:
    """The minimum probability with which a model opens calls; whoever decodes asks here.

    Args:
        directory: directory of the model; None where it was not loaded from one.
        given: what the user set. 0 leaves k alone to decide, as in the paper; None stands for the
            calibrated value.

    Returns:
        The value; `CLOSED` where none is given and none was calibrated, since nothing says that
        its calls help. The log says so once.

    Raises:
        ToolformerError: the model's calibration is damaged.
    """
    if given is not None:
        return given
    stored = read_min_call_probability(directory) if directory else None
    if stored is not None and stored.min_call_probability is not None:
        return stored.min_call_probability
    closed = stored or CalibratedProbability(None, _NOT_LOOKED_AT, 0, 0, 0)
    _warn_once(f"{directory or 'The model'}: {closed.summary}")
    return CLOSED


@functools.cache
def _warn_once(line: str) -> None:
    _LOGGER.warning("%s", line)
