"""Rows of token ids for finetuning: what of a long text is kept, and in which order rows come.

Does not know the model; works on ids and lengths.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from toolformer.ground.digests import digest


def fit_row(segments: Sequence[Sequence[int]], *, max_tokens: int) -> list[int]:
    """Cut a text with its calls to a length, never inside a call (spec §1.9, item 16).

    The row begins with the text. Where that would leave out all of its calls, it begins later:
    around the first call that fits, with half of what is left for the text behind the call (which
    is where a model learns what the result is good for) and half for the text before it.

    Args:
        segments: as `augmented_ids` gives them: a text token is a segment of one id, a call one
            of several.
        max_tokens: most ids of the row, without the beginning-of-sequence token.

    Returns:
        The ids of consecutive segments; empty where every call is longer than `max_tokens`.

    Example:
        >>> fit_row([[1], [2], [3], [70, 71, 72], [4], [5]], max_tokens=5)
        [3, 70, 71, 72, 4]
        >>> fit_row([[1], [70, 71, 72], [2], [3]], max_tokens=5)
        [1, 70, 71, 72, 2]
    """
    lengths = [len(segment) for segment in segments]
    calls = [place for place, length in enumerate(lengths) if length > 1]
    start, end = 0, _end(lengths, 0, max_tokens)
    if calls and calls[0] >= end:
        call = next((place for place in calls if lengths[place] <= max_tokens), None)
        if call is None:
            return []
        start = _start(lengths, call, max_tokens)
        end = _end(lengths, start, max_tokens)
    return [token for segment in segments[start:end] for token in segment]


def _end(lengths: Sequence[int], start: int, max_tokens: int) -> int:
    """The first segment that does not fit any more into a row that begins at `start`."""
    tokens = 0
    for place in range(start, len(lengths)):
        tokens += lengths[place]
        if tokens > max_tokens:
            return place
    return len(lengths)


def _start(lengths: Sequence[int], call: int, max_tokens: int) -> int:
    room = max_tokens - lengths[call]
    room -= min(room // 2, sum(lengths[call + 1 :]))
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
        batch_size: rows of a batch.
        step: number of the step, from 1.
        seed: of the order.

    Returns:
        Indices of rows, `batch_size` of them. They follow from the arguments alone, so a resumed
        run sees the rows of an undisturbed one.
    """
    first = (step - 1) * batch_size
    return list(_stream(rows, first, first + batch_size, seed))


def _stream(rows: int, first: int, last: int, seed: int) -> Iterator[int]:
    for place in range(first, last):
        epoch, index = divmod(place, rows)
        yield _epoch_order(rows, epoch, seed)[index]


@lru_cache(maxsize=2)
def _epoch_order(rows: int, epoch: int, seed: int) -> tuple[int, ...]:
    return tuple(sorted(range(rows), key=lambda row: (digest(seed, epoch, row), row)))
