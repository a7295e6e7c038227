"""Several batches at once on a processor, each by a thread of its own.

    one batch by all threads:   thread 0  |= = = = = =|= = = =     all wait for each other at the
                                thread 1  |= = = = = =|= = = =     end of every operation
    each a batch of its own:    thread 0  |===========|=======
                                thread 1  |=========|=========

A forward pass is thousands of operations, most of them shorter than a thread needs to wake up. Does
not know what is computed, nor in which batches.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolformer.language_model import LanguageModel

# Each batch holds activations and logits of its own. On larger machines several threads share one.
_MOST_AT_ONCE = 8

# Begins a computation; what it returns waits for the result.
Begin = Callable[[Callable[[], Any]], Callable[[], Any]]


def batches_at_once(model: "LanguageModel") -> int:
    """One for each thread of a processor, up to a limit; one on a GPU, which fills itself."""
    import torch

    if model.device.type != "cpu":
        return 1
    return min(torch.get_num_threads(), _MOST_AT_ONCE)


@contextmanager
def side_by_side(count: int) -> Iterator[Begin]:
    """Compute up to `count` things at the same time within the block.

    With a count of 1 a computation runs in the calling thread, once its result is asked for.
    """
    if count == 1:
        yield lambda compute: compute
        return
    import torch

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        count,
        thread_name_prefix="batch",
        initializer=torch.set_num_threads,
        initargs=(max(1, threads // count),),
    )
    try:
        yield lambda compute: pool.submit(compute).result
    finally:
        pool.shutdown(cancel_futures=True)
        # What a thread sets for itself, some libraries take for the whole process.
        torch.set_num_threads(threads)
