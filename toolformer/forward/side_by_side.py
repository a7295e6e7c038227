"""Several batches at once on a processor, each by a thread of its own.

    one batch by all threads:   thread 0  |= = = = = =|= = = =     all wait for each other at the
                                thread 1  |= = = = = =|= = = =     end of every operation
    each a batch of its own:    thread 0  |===========|=======
                                thread 1  |=========|=========

A forward pass is thousands of operations, most of them shorter than a thread needs to wake up. Does
not know what is computed, nor in which batches.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel

ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

# Each batch holds activations and logits of its own. On larger machines several threads share one.
_MOST_AT_ONCE = 8

# Begins a computation; what it returns waits for the result.
Begin = Callable[[Callable[[], Any]], Callable[[], Any]]

_Tasks = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


def batches_at_once(model: "LanguageModel") -> int:
    """One for each thread of a processor, up to a limit; one on a GPU, which a batch fills."""
    import torch

    if model.device.type != "cpu" or not model.is_shareable:
        return 1
    return min(torch.get_num_threads(), _MOST_AT_ONCE)


def in_turn(function: Callable[ArgumentsT, ResultT]) -> Callable[ArgumentsT, ResultT]:
    """The same function, called by one thread at a time."""
    turn = Lock()

    def call(*args: ArgumentsT.args, **options: ArgumentsT.kwargs) -> ResultT:
        with turn:
            return function(*args, **options)

    return call


@contextmanager
def side_by_side(count: int) -> Iterator[Begin]:
    """Compute up to `count` things at the same time within the block.

    With a count of 1 a computation runs in the calling thread, once its result is asked for. An
    error waits for what is running; an interrupt does not, and lets it run out unheeded.
    """
    if count == 1:
        yield lambda compute: compute
        return
    import torch

    threads = torch.get_num_threads()
    tasks: _Tasks = SimpleQueue()
    # Daemons, unlike the threads of an executor: an interrupt ends the process at once.
    workers = [
        Thread(target=_work, args=(tasks, max(1, threads // count)), daemon=True)
        for _ in range(count)
    ]
    for worker in workers:
        worker.start()

    def begin(compute: Callable[[], Any]) -> Callable[[], Any]:
        future: Future[Any] = Future()
        tasks.put((future, compute))
        return future.result

    is_interrupted = True
    try:
        yield begin
        is_interrupted = False
    except Exception:
        is_interrupted = False
        raise
    finally:
        with suppress(Empty):
            while True:
                tasks.get_nowait()
        for _ in workers:
            tasks.put(None)
        if not is_interrupted:
            for worker in workers:
                worker.join()
        # What a thread sets for itself, some libraries take for the whole process.
        torch.set_num_threads(threads)


def _work(tasks: _Tasks, kernel_threads: int) -> None:
    import torch

    torch.set_num_threads(kernel_threads)
    while (task := tasks.get()) is not None:
        future, compute = task
        try:
            future.set_result(compute())
        except BaseException as error:  # noqa: BLE001
            # Raised again where the result is awaited.
            future.set_exception(error)
        # What it holds is free as soon as nobody else holds it.
        del task, future, compute
