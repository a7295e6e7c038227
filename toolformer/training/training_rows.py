"""Builds and orders the rows of token ids for finetuning; truncates long texts."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from toolformer.augmentation import Segment
from toolformer.base.digests import digest

# Kinds of tokens. Each kind has its own weight in the loss.
TEXT, CALL, TOOL, RESULT, PROMPT = range(5)


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One training sequence without its beginning-of-sequence token.

    Attributes:
        ids: Token ids, in an `array` because a list would take ten times the memory.
        kinds: Kind of each token: `TEXT`; `CALL`, a call up to its arrow, except the tool's name;
            `TOOL`, that name; `RESULT`, the result and the closing bracket, which the model never
            generates; `PROMPT`, a chat up to the answer, which has no weight in the loss.
    """

    ids: Sequence[int]
    kinds: bytes


@dataclass(frozen=True, slots=True)
class DevelopmentRows:
    """Rows of the same held-out texts: once with the variant's calls, once without calls."""

    with_calls: Sequence[TrainingRow]
    without_calls: Sequence[TrainingRow]


def kept_tokens(segments: Sequence[Segment], *, max_tokens: int) -> range | None:
    """Return which tokens of a text its row keeps, as a range of positions in the bare text.

    The row starts at the beginning of the text, unless that would leave out all calls. Then it is
    centred on the first call that fits: half of the remaining room is for text after the call, from
    which the model learns how to use the result, and half for text before it. Returns None if no
    call fits together with a token after it. `max_tokens` includes calls but not the
    beginning-of-sequence token.

    Example:
        >>> text = [Segment([token], None) for token in (1, 2, 3, 4, 5)]
        >>> kept_tokens(text[:3] + [Segment([70, 71, 72], 2)] + text[3:], max_tokens=5)
        range(2, 4)
    """
    lengths = [len(segment.ids) for segment in segments]
    calls = [index for index, segment in enumerate(segments) if segment.request_length is not None]
    start, end = 0, _end(lengths, 0, max_tokens)
    # `- 1`, since a call at the very end would have no text after it.
    if calls and calls[0] >= end - 1:
        call = next((index for index in calls if lengths[index] < max_tokens), None)
        if call is None:
            return None
        start = _start(lengths, call, max_tokens)
        if start < call and start - 1 in calls:
            # The call before this token did not fit, so leave out the token too.
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
    """Return the row for a range of a text's tokens, with the calls before each token.

    `context` has the token ids before the text, such as a chat prompt; `max_tokens` includes them.
    The range may have been chosen with other calls in the text. If the calls in `segments` make the
    row too long, it is truncated between segments.

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
            after_name = segment.request_length - 1 - segment.name_length
            kinds += bytes([CALL, *[TOOL] * segment.name_length, *[CALL] * after_name])
            kinds += bytes([RESULT] * (len(segment.ids) - segment.request_length))
    return TrainingRow(array("i", ids), bytes(kinds))


def _end(lengths: Sequence[int], start: int, max_tokens: int) -> int:
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
    """Return the indices of the rows of an optimiser step, which is counted from 1.

    Each epoch shuffles the rows anew, and batches cross epoch boundaries, so every batch is full.
    """
    numbers = range((step - 1) * batch_size, step * batch_size)
    epochs_and_indices = (divmod(number, rows) for number in numbers)
    return [_epoch_order(rows, epoch, seed)[index] for epoch, index in epochs_and_indices]


@lru_cache(maxsize=2)
def _epoch_order(rows: int, epoch: int, seed: int) -> tuple[int, ...]:
    return tuple(sorted(range(rows), key=lambda row: (digest(seed, epoch, row), row)))
