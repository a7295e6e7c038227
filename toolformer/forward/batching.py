"""Plans batches within a token budget and halves them when memory runs out.

Results are bit-equal only for equal batches. So batches depend only on the rows and the size, and
the size is stored in the partition's checkpoint: a resumed partition uses it again.
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
    """Return the end of the batch that starts at a row. The token budget includes padding.

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
    """Group rows of similar length; return indices into `lengths`.

    The longest rows come first, so that a batch that exceeds memory fails at once.

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
    """Return the indices of rows by decreasing length; ties keep their order.

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
    """Compute rows in batches; store and yield each batch's start, end (exclusive) and result.

    A batch that does not fit into memory is retried at half the size, which also applies to all
    later batches. `end_of_batch` takes a start and a size; `compute` takes start and end and
    returns a JSON-serialisable result. `label` must be unique within the partition.

    Raises OutOfMemoryError if a single row does not fit.
    """
    name = f"{label}-sizes"
    # Pairs of first row and the size that applies from there on.
    sizes: list[list[int]] = checkpoint.step(name, lambda: [[0, size]])

    start = 0
    while start < count:
        end = end_of_batch(start, _size_at(sizes, start))
        try:
            # The name contains both ends. If the stored sizes were lost, a result must not be taken
            # for that of a batch of another size.
            result = checkpoint.step(f"{label}-{start:06d}-{end:06d}", partial(compute, start, end))
        except (RuntimeError, MemoryError) as error:
            _check_can_halve(error, end - start)
        else:
            yield start, end, result
            start = end
            continue
        # Outside the handler, because the exception keeps the failed batch's tensors alive.
        release_memory()
        sizes.append([start, max(1, _size_at(sizes, start) // 2)])
        checkpoint.store(name, sizes)


def _size_at(sizes: list[list[int]], row: int) -> int:
    return next(size for first, size in reversed(sizes) if first <= row)


def feed_in_halves(
    rows: list[RowT], compute: Callable[[list[RowT]], list[ResultT]]
) -> tuple[list[ResultT], bool]:
    """Compute one result per row, halving the batch if memory runs out; also return if it did."""
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
    """Return whether batches of a partition were halved because memory ran out."""
    return any(len(sizes) > 1 for sizes in checkpoint.stored("*-sizes")) or any(
        checkpoint.stored("*-regrouped")
    )


def geometry_metadata(*passes: Checkpoint) -> dict[str, str]:
    """Return the batch sizes of a partition, and whether batches were halved, as metadata."""
    sizes = {
        name: size
        for checkpoint in passes
        for stored_sizes in checkpoint.stored("geometry")
        for name, size in stored_sizes.items()
    }
    regrouped = any(map(is_regrouped, passes))
    return {"geometry": json.dumps(sizes), "regrouped": json.dumps(regrouped)}


def _check_can_halve(error: Exception, rows: int) -> None:
    """Raise unless memory ran out and the batch has more than one row."""
    if not is_out_of_memory(error):
        raise error
    if rows == 1:
        raise OutOfMemoryError(
            "A single text does not fit into the memory of the device. Lower corpus.window_tokens, "
            "or use a smaller model or a device with more memory. Finished batches are kept."
        ) from error
