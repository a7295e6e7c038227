"""Runs calls in threads, so that a call that hangs can be abandoned."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from tools.errors import ToolTimeoutError


def answer_in_time(action: Callable[[], Any], seconds: float) -> Any:
    """Run an action in a thread; return its result, its error, or a `ToolTimeoutError`.

    After a timeout the action continues in its thread.
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
    """A daemon thread that runs one action after another.

    Threads are reused, because a Java virtual machine remembers every thread that called it.
    `ThreadPoolExecutor` would wait at exit for a call that hangs, and the idle threads of `pebble`
    would keep the last call's tool and model in memory.
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
            # First mark the thread as idle, so that the next call finds it.
            _idle_threads.append(self)
            answers.put(answer)
            # Free the objects of this call now rather than at the next call.
            del action, answers, answer


_idle_threads: list[_CallThread] = []
