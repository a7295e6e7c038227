"""The threads in which calls are made, and how long a call may take.

They are daemons; a call that hangs is left behind in its own. A call that computes in its thread
has its deadline in processor time, so that answers do not depend on what else the machine does;
one that waits, for another process or the network, has it on the clock.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

from tools.errors import ToolTimeoutError

# A call that computes has had a processor for this share of its time, or more.
_COMPUTING_SHARE = 0.02
# On the clock, a call that computes may take so many deadlines.
_MAX_DEADLINES_ON_THE_CLOCK = 10


class BusyMachineError(ToolTimeoutError):
    """A call got too little of a processor to be answered."""


def answer_in_time(action: Callable[[], Any], seconds: float) -> Any:
    """What the action returns or raises, errors as values.

    Raises:
        ToolTimeoutError: It takes longer; its thread goes on. A `BusyMachineError` where it had
            too little of a processor.
    """
    try:
        thread = _idle_threads.pop()
    except IndexError:
        thread = _CallThread()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    began, computed_before = perf_counter(), thread.processor_seconds
    thread.actions.put((action, answers))
    left = seconds
    while True:
        with suppress(queue.Empty):
            return answers.get(timeout=left)
        passed = perf_counter() - began
        computed = thread.processor_seconds - computed_before
        if computed >= seconds or computed < _COMPUTING_SHARE * passed:
            raise ToolTimeoutError(f"A call took longer than {seconds:g} s.")
        if passed >= _MAX_DEADLINES_ON_THE_CLOCK * seconds:
            raise BusyMachineError(
                f"In {passed:.0f} s a call got a processor for {computed:.2g} s."
            )
        left = min(seconds - computed, _MAX_DEADLINES_ON_THE_CLOCK * seconds - passed)
        left = max(left, 0.01)


class _CallThread:
    """A thread that does one action after another and never keeps the process alive.

    Threads are used again and again, because a Java virtual machine remembers every thread that
    called it. Not a `ThreadPoolExecutor`, which waits at exit for a call that hangs.
    """

    def __init__(self) -> None:
        self.actions: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="tool-calls", daemon=True)
        self._thread.start()

    @property
    def processor_seconds(self) -> float:
        """Processor time of the thread so far; 0 where the system does not tell."""
        if not hasattr(time, "pthread_getcpuclockid"):
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident or 0))

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
