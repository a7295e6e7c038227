"""Threads in which calls are made, so that a call that hangs can be left behind."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from tools.errors import ToolTimeoutError


def answer_in_time(action: Callable[[], Any], seconds: float) -> Any:
    """Return what the action returns or raises, errors as values.

    An action that takes longer goes on in its thread, and a `ToolTimeoutError` is returned.
    """
    try:
        thread = _idle_threads.pop()
    except IndexError:
        thread = _CallThread()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    thread.actions.put((action, answers))
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return ToolTimeoutError(f"A call took longer than {seconds:g} s.")


class _CallThread:
    """A daemon thread that does one action after another.

    Threads are used again, because a Java virtual machine remembers every thread that called it.
    Not a `ThreadPoolExecutor`, which waits at exit for a call that hangs, and not a pool of
    `pebble`, whose idle threads keep the last call's tool and its model in memory.
    """

    def __init__(self) -> None:
        self.actions: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="tool-calls", daemon=True).start()

    def _serve(self) -> None:
        while True:
            action, answers = self.actions.get()
            try:
                answer = action()
            except BaseException as error:  # noqa: BLE001
                # A tool may raise anything, `SystemExit` too; one call must never end a shard.
                answer = error
            # Before the answer, so that the next call finds this thread.
            _idle_threads.append(self)
            answers.put(answer)
            # Nothing of a call is held until the next one.
            del action, answers, answer


_idle_threads: list[_CallThread] = []
