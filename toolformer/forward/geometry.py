"""How much is fed at once: fixed when a partition is begun, halved when memory runs out.

Numbers are bit-equal only in equal batches. So batches follow from the rows and the size alone, the
size is stored in the partition's checkpoint, and a resumed partition goes on with it, whatever is
free by then.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from toolformer.base.loading import is_out_of_memory
from toolformer.errors import OutOfMemoryError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.memory import (
    activation_bytes,
    available_memory,
    release_memory,
    whole_memory,
)

if TYPE_CHECKING:
    from toolformer.forward.network import Network

RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")

# On a processor: larger batches leave its cache, smaller ones starve its matrix products; and so
# many branches decode at the same time. The keys of long windows bound them further: a shard of
# whole web pages has hundreds, each of which holds 40 MiB or more.
_PROCESSOR_BATCH_TOKENS = 1024
_PROCESSOR_BRANCHES = 800
_PROCESSOR_KEY_BYTES = 2**30
# Rows behind copies of their texts' keys: so many keys are counted as one token of the batch. On a
# GPU memory is the bound, and a key takes about as much of it as a token that is fed.
_PROCESSOR_KEYS_PER_TOKEN = 8
# So many texts are completed at the same time; with more of them, the weights that a step reads are
# no longer what it waits for. Few texts grow as long as they may, so the bytes are seldom reached.
_PROCESSOR_ROWS = 128
_PROCESSOR_ROW_BYTES = 2**31
# On a GPU: enough rows to keep it busy, as far as this share of the free memory reaches.
_GPU_BATCH_TOKENS = 16384
_GPU_BRANCHES = 8192
_GPU_ROWS = 512
_MEMORY_SHARE = 0.5


class NetworkGeometry:
    """A `toolformer.forward.model.Geometry` from the memory of a network's device."""

    def __init__(self, model: "Network"):
        self._model = model
        self._is_on_gpu = model.device.type == "cuda"

    def batch_tokens(self, *, window_tokens: int) -> int:
        """See `Geometry.batch_tokens`."""
        if not self._is_on_gpu:
            return _PROCESSOR_BATCH_TOKENS
        # Of what the weights leave, whoever uses it now: tools of a shard are scored one after the
        # other, also by several processes, and L(ε) of all is of the same batches.
        space = whole_memory(str(self._model.device)) or 0
        space -= self._model.model.get_memory_footprint()
        # Half of the share for the batch that is running, half for the keys of the windows.
        held = int(space * _MEMORY_SHARE) // 2 // activation_bytes(self._model.text_config)
        return max(window_tokens, min(_GPU_BATCH_TOKENS, held))

    @property
    def keys_per_token(self) -> int:
        """See `Geometry.keys_per_token`."""
        is_fed_again = self._model.is_plain or self._is_on_gpu
        return 1 if is_fed_again else _PROCESSOR_KEYS_PER_TOKEN

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:
        """See `Geometry.windows_per_batch`."""
        copies = branches if self._model.is_plain else 1
        window_bytes = copies * keys * self._model.key_bytes
        if not self._is_on_gpu:
            at_once = _PROCESSOR_BRANCHES // branches
            return max(1, min(windows, at_once, _PROCESSOR_KEY_BYTES // window_bytes))
        held = self._share_of_free() // 2 // window_bytes
        return max(1, min(_GPU_BRANCHES // branches, held))

    def rows(self, *, row_tokens: int) -> int:
        """See `Geometry.rows`."""
        # A batch that takes others in is held twice for a moment.
        row_bytes = 2 * row_tokens * self._model.key_bytes
        if not self._is_on_gpu:
            return max(1, min(_PROCESSOR_ROWS, _PROCESSOR_ROW_BYTES // row_bytes))
        return max(1, min(_GPU_ROWS, self._share_of_free() // row_bytes))

    def _share_of_free(self) -> int:
        return int((available_memory(self._model.device) or 0) * _MEMORY_SHARE)


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
