"""Runs functions in a confined process, a `pebble` pool with one worker."""

import multiprocessing.context
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from multiprocessing.connection import Connection
from multiprocessing.popen_spawn_posix import Popen
from types import ModuleType
from typing import Any

import psutil
from pebble import ProcessExpired, ProcessPool

from tools.errors import ToolTimeoutError
from tools.running.confinement import confine

_SECONDS_TO_END = 10.0
_FIRST_DESCRIPTOR = 128
_starting = threading.Lock()
# The kernel ends a worker with the thread that started it (`confine`), so this thread must live on.
_starter = ThreadPoolExecutor(1, "tool-processes")


class WorkerEndedError(Exception):
    """The process ended during a request; the message, such as ` (SIGKILL)`, may be empty."""


class WorkerPool:
    """A pool whose worker starts at the first request; for the arguments see `confine`."""

    def __init__(self, memory_bytes: int, environment: Sequence[str], network: str) -> None:
        self._pool = ProcessPool(
            max_workers=1,
            initializer=confine,
            initargs=(memory_bytes, environment, network),
            context=_Context(),
        )
        # Contains the process id once the worker has started.
        self._process: list[int] = []
        self._finalizer = weakref.finalize(self, _end, self._pool, self._process)
        # Not needed at exit, since pebble ends its workers then.
        self._finalizer.atexit = False

    def ask(self, function: Callable[..., bytes], *values: Any, seconds: float) -> bytes:
        """Call a function in the worker. After an error the caller must end the pool."""
        try:
            if not self._process:
                started = _starter.submit(self._pool.schedule, os.getpid).result()
                self._process.append(started.result(seconds))
            # The pool's own timeout would kill the worker but not the processes that it started.
            return self._pool.schedule(function, values).result(seconds)
        except ProcessExpired as error:
            status = error.exitcode
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise WorkerEndedError(f" ({how})") from error
        except TimeoutError as error:
            raise ToolTimeoutError(f"A call took longer than {seconds:g} s.") from error
        # The pool is broken or has ended.
        except RuntimeError as error:
            raise WorkerEndedError("") from error

    @property
    def is_active(self) -> bool:
        return self._pool.active

    def end(self) -> None:
        if ending := self._finalizer():
            ending.join(_SECONDS_TO_END)


def _end(pool: ProcessPool, process: Sequence[int]) -> threading.Thread:
    started: list[psutil.Process] = []
    for number in process:
        with suppress(psutil.Error):
            started = psutil.Process(number).children(recursive=True)
        with suppress(OSError):
            os.killpg(number, signal.SIGKILL)
    for child in started:
        with suppress(psutil.Error):
            child.kill()
    pool.stop()
    # Joining needs a new thread: the garbage collector may call this in one that the pool joins.
    thread = threading.Thread(target=pool.join, daemon=True)
    thread.start()
    return thread


class _Process(multiprocessing.context.SpawnProcess):
    """A process that does not import the main module; a script without a guard would run again."""

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802
        with _starting:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


class _Context(multiprocessing.context.SpawnContext):
    Process = _Process

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802
        # A tool is unlikely to write to such high file descriptors by mistake.
        ends = []
        for end in super().Pipe(duplex):
            number = fcntl(end.fileno(), F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
            ends.append(Connection(number, readable=end.readable, writable=end.writable))
            end.close()
        return tuple(ends)
