"""The least probability with which a model opens a call, chosen on texts that were held back.

    text with a kept call      the first opening stands at a kept call, or it spends the only call
    text without kept calls    any opening is one too many

A threshold t opens the first call of a text where ` [` is among the k likeliest tokens and has at
least the probability t. Of all t the one is chosen with the largest gain - loss: the share of texts
with calls whose first call is right, less the share of texts without in which one opens. A t above
all probabilities opens nothing, gains nothing and loses nothing: where no other gains, it is
chosen. Does not feed a model; `call_chances` does.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from toolformer.decoding.triggers import CallChance, may_open
from toolformer.errors import ToolformerError
from toolformer.ground.beside_models import CALL_THRESHOLD_FILE

# Below this, one text more or less moves the choice at will.
LEAST_TEXTS_WITH_CALLS = 8
_RIGHT, _ELSEWHERE, _WITHOUT = range(3)
_NO_GAIN = (
    " No value gains anything on these texts, so with this one no call opens in them. To have "
    "calls all the same, set decoding.least_call_probability to a number."
)


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text as a model reads it.

    Attributes:
        chances: of a call at each position, shape `(n,)`.
        call_positions: where kept calls stand in it, counted without calls; none: a text without.
    """

    chances: Sequence[CallChance]
    call_positions: Set[int]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a threshold does.

    Attributes:
        threshold: least probability.
        right: texts with calls whose first opened call stands where a kept one stands.
        elsewhere: texts with calls whose first opened call stands elsewhere.
        without: texts without calls in which one is opened.
        score: gain - loss, in [-1, 1].
    """

    threshold: float
    right: int
    elsewhere: int
    without: int
    score: float


@dataclass(frozen=True, slots=True)
class CallThreshold:
    """What was chosen, or why nothing was.

    Attributes:
        least_call_probability: the threshold; None where none was chosen.
        reason: why none was; None where one was.
        call_top_k: k that it was chosen for.
        texts_with_calls, texts_without_calls: that it was chosen on.
        curve: what each threshold does at which that changes, from the smallest on; empty where
            none was chosen.
        made_from: the fingerprint that stands with it in its file.
    """

    least_call_probability: float | None
    reason: str | None
    call_top_k: int
    texts_with_calls: int
    texts_without_calls: int
    curve: tuple[CurvePoint, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> CurvePoint | None:
        """What the chosen threshold does."""
        return next(
            (each for each in self.curve if each.threshold == self.least_call_probability), None
        )

    @property
    def told(self) -> str:
        """The choice in a line."""
        if self.least_call_probability is None:
            return f"No least probability of calls is calibrated: {self.reason}."
        said = f"Least probability of calls: {self.least_call_probability:.4g}"
        if self.chosen is None:
            return f"{said}."
        return (
            f"{said}, at which {self.chosen.right} of {self.texts_with_calls} development texts "
            f"with calls call first at the place of a kept one, and {self.chosen.without} of "
            f"{self.texts_without_calls} without calls call at all."
            f"{'' if self.chosen.score > 0 else _NO_GAIN}"
        )


def why_too_few(call_positions: Sequence[Set[int]]) -> str | None:
    """Why such texts cannot tell thresholds apart; None where they can.

    Args:
        call_positions: of each text; none for a text without calls.
    """
    with_calls = sum(map(bool, call_positions))
    if with_calls < LEAST_TEXTS_WITH_CALLS:
        return (
            f"{with_calls} development texts have calls, expected at least "
            f"{LEAST_TEXTS_WITH_CALLS} to choose by"
        )
    if with_calls == len(call_positions):
        return "no development text is without calls, so nothing shows where none should open"
    return None


def choose_call_threshold(texts: Sequence[ReadText], *, call_top_k: int) -> CallThreshold:
    """Choose the threshold with the largest gain - loss; of equal ones the largest.

    Args:
        texts: with and without kept calls.
        call_top_k: k of the trigger, which holds besides.

    Returns:
        The choice; none with fewer than `LEAST_TEXTS_WITH_CALLS` texts with calls, or without
        others, or where no call could open in any.

    Example:
        >>> right = ReadText([CallChance(9, 0.1), CallChance(2, 0.4)], {1})
        >>> none = ReadText([CallChance(5, 0.2)], set())
        >>> choose_call_threshold([right] * 8 + [none], call_top_k=10).least_call_probability
        0.4
    """
    with_calls = sum(bool(text.call_positions) for text in texts)
    without_calls = len(texts) - with_calls
    curve: tuple[CurvePoint, ...] = ()
    reason = why_too_few([text.call_positions for text in texts])
    if reason is None:
        curve = _curve(texts, with_calls, without_calls, call_top_k)
        if not curve:
            reason = f"the opening of a call is nowhere among the {call_top_k} likeliest tokens"
    # In whole numbers: of two shares of equal difference, rounding would make one the larger.
    best = max(
        curve,
        key=lambda point: (
            point.right * without_calls - point.without * with_calls,
            point.threshold,
        ),
        default=None,
    )
    return CallThreshold(
        least_call_probability=best and best.threshold,
        reason=reason,
        call_top_k=call_top_k,
        texts_with_calls=with_calls,
        texts_without_calls=without_calls,
        curve=curve,
    )


def _curve(
    texts: Sequence[ReadText], with_calls: int, without_calls: int, call_top_k: int
) -> tuple[CurvePoint, ...]:
    """All thresholds at which something changes, from the smallest on; the last opens nothing.

    The first opening of a text is where its probability exceeds all before it. From one such place
    to the next, nothing changes for this text; between those of all texts, for none. Of the other
    probabilities none could be chosen: the next larger of these does the same and wins the tie.
    """
    changes: defaultdict[float, list[int]] = defaultdict(lambda: [0, 0, 0])
    for text in texts:
        openings: list[tuple[float, int]] = []
        for position, (rank, probability) in enumerate(text.chances):
            highest = openings[-1][0] if openings else -1.0
            if (
                probability is not None
                and probability > highest
                and may_open(rank, probability, call_top_k=call_top_k, least_call_probability=0)
            ):
                openings.append((probability, _kind(text, position)))
        above = None
        for probability, kind in reversed(openings):
            changes[probability][kind] += 1
            if above is not None:
                changes[probability][above] -= 1
            above = kind
    thresholds = sorted(changes, reverse=True)
    points = [
        CurvePoint(math.nextafter(highest, 1), 0, 0, 0, 0.0)
        for highest in thresholds[:1]
        if highest < 1
    ]
    counts = [0, 0, 0]
    for threshold in thresholds:
        counts = [count + change for count, change in zip(counts, changes[threshold], strict=True)]
        right, elsewhere, without = counts
        score = right / with_calls - without / without_calls
        points.append(CurvePoint(threshold, right, elsewhere, without, score))
    return tuple(reversed(points))


def _kind(text: ReadText, position: int) -> int:
    if not text.call_positions:
        return _WITHOUT
    return _RIGHT if position in text.call_positions else _ELSEWHERE


def call_threshold_text(chosen: CallThreshold) -> str:
    """The file of a choice, as JSON; what it was made from stands in front."""
    values = asdict(chosen)
    return json.dumps({**values.pop("made_from"), **values}, indent=1) + "\n"


def read_call_threshold(directory: Path) -> CallThreshold | None:
    """What was chosen for the model of a directory; None where nobody has looked.

    Raises:
        ToolformerError: the file is damaged.
    """
    file = directory / CALL_THRESHOLD_FILE
    try:
        content = json.loads(file.read_bytes())
        names = [each.name for each in fields(CallThreshold) if each.name != "made_from"]
        values = {name: content[name] for name in names}
        values["curve"] = tuple(CurvePoint(**point) for point in values["curve"])
        made_from = {name: value for name, value in content.items() if name not in names}
        stored = CallThreshold(**values, made_from=made_from)
        least = stored.least_call_probability
        is_sound = isinstance(stored.reason, str) if least is None else 0 <= least <= 1
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, LookupError, TypeError):
        is_sound, stored = False, None
    if not is_sound:
        raise ToolformerError(
            f"{str(file)!r} is damaged: expected what `toolformer train` writes. Delete it and run "
            "`toolformer train` again, or set decoding.least_call_probability to a number."
        )
    return stored
