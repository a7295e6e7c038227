"""Batches of a bounded size: planned from lengths alone, halved when memory runs out.

Numbers are bit-equal only in equal batches. So batches follow from the rows and the size alone, the
size is stored in the partition's checkpoint, and a resumed partition goes on with it, whatever is
free by then.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from toolformer.base.loading import is_out_of_memory
from toolformer.errors import OutOfMemoryError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.memory import release_memory

RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")


def end_of_batch(lengths: Sequence[int], start: int, *, token_budget: int) -> int:
    """Where the batch ends that begins at a row: as many rows as the budget takes, at least one.

    Args:
        token_budget: most tokens of the batch. Rows are padded to the longest, and padding counts.

    Example:
        >>> end_of_batch([4, 3, 3], 0, token_budget=10)
        2
    """
    longest = 0
    for end in range(start, len(lengths)):
        longest = max(longest, lengths[end])
        if longest * (end - start + 1) > token_budget and end > start:
            return end
    return len(lengths)


def plan_batches(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Group rows of like length, longest first, so that little padding is fed.

    The plan depends on the lengths alone: the same rows give the same batches, and so bit-equal
    numbers on the same device. Longest first makes running out of memory show at once.

    Returns:
        Indices into `lengths`, each exactly once.

    Example:
        >>> plan_batches([2, 9, 3, 3], token_budget=9)
        [[1], [2, 3, 0]]
    """
    order = longest_first(lengths)
    in_order = [lengths[index] for index in order]
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        end = end_of_batch(in_order, start, token_budget=token_budget)
        batches.append(order[start:end])
        start = end
    return batches


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices of rows by falling length; equal ones in their order.

    Example:
        >>> longest_first([2, 9, 3, 3])
        [1, 2, 3, 0]
    """
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


def feed_in_batches(
    count: int,
    *,
    size: int,
    end_of_batch: Callable[[int, int], int],
    compute: Callable[[int, int], Any],
    checkpoint: Checkpoint,
    label: str,
) -> Iterator[tuple[int, int, Any]]:
    """Work on `count` rows in their order, batch by batch, keeping each batch's result.

    A batch that does not fit into memory is tried again at half the size, and so are all after it;
    `is_regrouped` then says so for the partition.

    Args:
        size: size of a batch, when the partition is begun.
        end_of_batch: first row and size to the row behind the batch; at least one row.
        compute: first row and row behind the last to a result that JSON can hold.
        label: label of the steps, unique within the partition.

    Yields:
        First row, row behind the last, result.

    Raises:
        OutOfMemoryError: a single row does not fit.
    """
    name = f"{label}-sizes"
    # Pairs: from this row on, this size.
    sizes: list[list[int]] = checkpoint.step(name, lambda: [[0, size]])

    start = 0
    while start < count:
        end = end_of_batch(start, _size_at(sizes, start))
        try:
            # Both ends: a result is of no use to batches of other sizes, should the sizes get lost.
            result = checkpoint.step(f"{label}-{start:06d}-{end:06d}", partial(compute, start, end))
        except (RuntimeError, MemoryError) as error:
            _check_can_halve(error, end - start)
        else:
            yield start, end, result
            start = end
            continue
        # Outside the handler: what the failed batch holds is free only now.
        release_memory()
        sizes.append([start, max(1, _size_at(sizes, start) // 2)])
        checkpoint.store(name, sizes)


def _size_at(sizes: list[list[int]], row: int) -> int:
    return next(size for first, size in reversed(sizes) if first <= row)


def feed_in_halves(
    rows: list[RowT], compute: Callable[[list[RowT]], list[ResultT]]
) -> tuple[list[ResultT], bool]:
    """Work on rows together, or by halves of halves where memory does not hold them.

    Args:
        rows: at least one.
        compute: rows to as many results.

    Returns:
        The results, and whether memory ran out.

    Raises:
        OutOfMemoryError: a single row does not fit.
    """
    try:
        return compute(rows), False
    except (RuntimeError, MemoryError) as error:
        _check_can_halve(error, len(rows))
    release_memory()
    half = len(rows) // 2
    first, _ = feed_in_halves(rows[:half], compute)
    second, _ = feed_in_halves(rows[half:], compute)
    return first + second, True


def is_regrouped(checkpoint: Checkpoint) -> bool:
    """Whether memory ran out in a partition, so that its batches became smaller."""
    return any(len(sizes) > 1 for sizes in checkpoint.stored("*-sizes")) or any(
        checkpoint.stored("*-regrouped")
    )


def geometry_metadata(*passes: Checkpoint) -> dict[str, str]:
    """What a partition's metadata says of its batches: their sizes, and whether memory ran out."""
    sizes = {
        name: size
        for checkpoint in passes
        for stored_sizes in checkpoint.stored("geometry")
        for name, size in stored_sizes.items()
    }
    regrouped = any(map(is_regrouped, passes))
    return {"geometry": json.dumps(sizes), "regrouped": json.dumps(regrouped)}


def _check_can_halve(error: Exception, rows: int) -> None:
    """Raise unless the error says that memory ran out, and fewer rows may need less."""
    if not is_out_of_memory(error):
        raise error
    if rows == 1:
        raise OutOfMemoryError(
            "The memory of the device does not hold a single text of this size. Lower "
            "corpus.window_tokens, or take a device with more memory or a smaller model. What was "
            "computed is kept."
        ) from error
