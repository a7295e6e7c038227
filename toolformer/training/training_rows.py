"""Rows of token ids for finetuning: what of a long text is kept, and in which order rows come."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from toolformer.augmentation import Segment
from toolformer.base.digests import digest

# Kinds of tokens, each with a weight of its own in the loss.
TEXT, CALL, TOOL, RESULT, PROMPT = range(5)


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """What a model is trained on at once.

    Attributes:
        ids: its tokens, without the beginning-of-sequence token; in an array they take a tenth of
            the memory, in each process that trains.
        kinds: kind of each token, `TEXT`, `CALL` (a call up to its arrow), `TOOL` (the name of the
            tool in it), `RESULT` (the result and the bracket behind it, which are never generated)
            or `PROMPT` (of a chat up to the answer, which counts nothing).
    """

    ids: Sequence[int]
    kinds: bytes


@dataclass(frozen=True, slots=True)
class DevelopmentRows:
    """Texts to measure on, none of which is trained on.

    Attributes:
        with_calls: their rows as the variant is trained.
        without_calls: the rows of the same texts without calls, in the same order.
    """

    with_calls: Sequence[TrainingRow]
    without_calls: Sequence[TrainingRow]


def kept_tokens(segments: Sequence[Segment], *, max_tokens: int) -> range | None:
    """Which tokens of a text with calls stand in its row.

    The row begins with the text. Where that would leave out all of its calls, it begins later:
    around the first call that fits, with half of what is left for the text behind the call (which
    is where a model learns what the result is good for) and half for the text before it.

    Args:
        max_tokens: maximum length of the row, calls included, without the beginning-of-sequence
            token.

    Returns:
        Positions of the text's tokens, counted without calls; None where no call fits together
        with a token behind it.

    Example:
        >>> text = [Segment([token], None) for token in (1, 2, 3, 4, 5)]
        >>> kept_tokens(text[:3] + [Segment([70, 71, 72], 2)] + text[3:], max_tokens=5)
        range(2, 4)
    """
    lengths = [len(segment.ids) for segment in segments]
    calls = [index for index, segment in enumerate(segments) if segment.request_length is not None]
    start, end = 0, _end(lengths, 0, max_tokens)
    # A call at the very end has no text behind it.
    if calls and calls[0] >= end - 1:
        call = next((index for index in calls if lengths[index] < max_tokens), None)
        if call is None:
            return None
        start = _start(lengths, call, max_tokens)
        if start < call and start - 1 in calls:
            # The call right before this token did not fit.
            start += 1
        end = _end(lengths, start, max_tokens)
    before = start - sum(index < start for index in calls)
    within = sum(start <= index < end for index in calls)
    return range(before, before + end - start - within)


def training_row(
    segments: Sequence[Segment],
    tokens: range,
    *,
    max_tokens: int,
    context: Sequence[int] = (),
    context_kind: int = TEXT,
) -> TrainingRow:
    """The row of some tokens of a text, with the calls that stand in front of one of them.

    Args:
        tokens: positions of the text's tokens, counted without calls; `kept_tokens` of the same
            text, or of the text with other calls: then the row is cut at the end, between
            segments, where it is too long.
        max_tokens: maximum length of the row, without the beginning-of-sequence token.
        context: tokens in front of the text.

    Example:
        >>> text = [Segment([token], None) for token in (1, 2, 3, 4, 5)]
        >>> segments = text[:3] + [Segment([70, 71, 72], 2)] + text[3:]
        >>> row = training_row(segments, range(2, 4), max_tokens=5)
        >>> list(row.ids), list(row.kinds)
        ([3, 70, 71, 72, 4], [0, 1, 1, 3, 0])
    """
    ids = list(context)
    kinds = bytearray([context_kind] * len(ids))
    position = 0
    for segment in segments:
        is_kept = position in tokens
        position += segment.request_length is None
        if not is_kept:
            continue
        if len(ids) + len(segment.ids) > max_tokens:
            break
        ids += segment.ids
        if segment.request_length is None:
            kinds.append(TEXT)
        else:
            behind_name = segment.request_length - 1 - segment.name_length
            kinds += bytes([CALL, *[TOOL] * segment.name_length, *[CALL] * behind_name])
            kinds += bytes([RESULT] * (len(segment.ids) - segment.request_length))
    return TrainingRow(array("i", ids), bytes(kinds))


def _end(lengths: Sequence[int], start: int, max_tokens: int) -> int:
    """The first segment that does not fit any more into a row that begins at `start`."""
    tokens = 0
    for index in range(start, len(lengths)):
        tokens += lengths[index]
        if tokens > max_tokens:
            return index
    return len(lengths)


def _start(lengths: Sequence[int], call: int, max_tokens: int) -> int:
    room = max_tokens - lengths[call]
    room -= min(max(room // 2, 1), sum(lengths[call + 1 :]))
    start = call
    while start > 0 and lengths[start - 1] <= room:
        start -= 1
        room -= lengths[start]
    return start


def batch_rows(rows: int, *, batch_size: int, step: int, seed: int) -> list[int]:
    """The rows of one optimiser step.

    All rows come once per epoch, in an order of its own. A batch goes on into the next epoch, so
    every batch is full.

    Args:
        rows: number of rows, at least 1.
        step: number of the step, from 1.

    Returns:
        Indices of rows. They follow from the arguments alone, so a resumed run sees the rows of an
        undisturbed one.
    """
    places = (divmod(number, rows) for number in range((step - 1) * batch_size, step * batch_size))
    return [_epoch_order(rows, epoch, seed)[index] for epoch, index in places]


@lru_cache(maxsize=2)
def _epoch_order(rows: int, epoch: int, seed: int) -> tuple[int, ...]:
    return tuple(sorted(range(rows), key=lambda row: (digest(seed, epoch, row), row)))
