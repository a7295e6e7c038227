"""A confined process that answers one request after another: a pool of `pebble` with one worker.

Three things of the pool are ours. Its worker is confined (`tools.running.confinement`). It does not
run our main module, which `multiprocessing` would do: a script that has no guard would start itself
without end. And what comes from the worker is never unpickled: a tool may write anything to any
descriptor of its process.
"""

import multiprocessing.context
import os
import pickle
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from multiprocessing.popen_spawn_posix import Popen
from types import ModuleType
from typing import Any

from pebble import ProcessExpired, ProcessPool
from pebble.common.types import Result, ResultStatus
from pebble.pool.process import Acknowledgement, TaskResult, WorkerTask

from tools.errors import ToolTimeoutError
from tools.running.confinement import Confinement

_LONGEST_MESSAGE = 64 * 2**20
_SECONDS_TO_END = 10.0
_starting = threading.Lock()


class WorkerEndedError(Exception):
    """The process ended during a request; the message says how, as an insertion."""


class WorkerBrokenError(WorkerEndedError):
    """The process, or the pipe that leads to it, was broken during a request or before it."""


class WorkerPool:
    """The pool, whose worker is started by the first request.

    Args:
        limits: Those of `Confinement` that are the tool's.
    """

    def __init__(self, **limits: Any) -> None:
        self._last_words, writer = Pipe(duplex=False)
        context = _Context(Confinement(**limits, last_words=writer, parent=os.getpid()))
        self._pool = ProcessPool(max_workers=1, context=context)
        self._finalizer = weakref.finalize(self, _end, self._pool)
        # At exit `pebble` ends its workers.
        self._finalizer.atexit = False

    def ask(self, function: Callable[..., bytes], *values: Any, seconds: float) -> bytes:
        """Call a function in the worker. After an error the pool is to be ended.

        Raises:
            ToolTimeoutError: It took longer.
            WorkerEndedError: The process ended.
            WorkerBrokenError: The process had ended before, or its pipe holds what is no message.
        """
        try:
            # Not the pool's own timeout: that begins when the worker has read the request.
            return self._pool.schedule(function, values).result(seconds)
        except ProcessExpired as error:
            words = self._last_words.recv_bytes().decode() if self._last_words.poll() else ""
            raise WorkerEndedError(words) from error
        except TimeoutError as error:
            raise ToolTimeoutError(f"A call took longer than {seconds:g} s.") from error
        # Of a pool that has ended, too.
        except RuntimeError as error:
            raise WorkerBrokenError(" (it, or what it started, wrote what is no answer)") from error

    def end(self) -> None:
        """End the process and all that the tool started."""
        if ending := self._finalizer():
            ending.join(_SECONDS_TO_END)


def _end(pool: ProcessPool) -> threading.Thread:
    pool.stop()
    # The garbage collector may call this in a thread that the pool waits for.
    thread = threading.Thread(target=pool.join, daemon=True)
    thread.start()
    return thread


class _Context(multiprocessing.context.SpawnContext):
    """Starts confined processes, and connects them by pipes that carry our messages."""

    def __init__(self, confinement: Confinement) -> None:
        self._confinement = confinement
        self._mark = os.urandom(16)

    def Process(self, **arguments: Any) -> "_Worker":  # noqa: N802  # pyright: ignore
        return _Worker(self._confinement, **arguments)

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802
        return tuple(_End(end, self._mark, os.getpid()) for end in super().Pipe(duplex))


class _Worker(multiprocessing.context.SpawnProcess):
    def __init__(self, confinement: Confinement, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._confinement = confinement
        self._channel = arguments["args"][1]

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802
        with _starting:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return Popen(process_obj)
            finally:
                sys.modules["__main__"] = main

    def run(self) -> None:
        self._confinement.enter()
        # A child that the tool forks and that comes back like its parent answers nothing.
        os.register_at_fork(after_in_child=self._channel.close)
        super().run()


class _End:
    """An end of a pipe between our process and a worker.

    A message begins with a mark, so that what a tool writes into the pipe is none. A request is
    pickled; an answer is the number of the request, the keeper's id and, unless it says only that
    the worker begins, bytes.
    """

    _HEAD = struct.Struct("!QQ")

    def __init__(self, connection: Connection, mark: bytes, parent: int) -> None:
        self._connection, self._mark, self._parent = connection, mark, parent
        self.fileno, self.close = connection.fileno, connection.close

    def __reduce__(self) -> Any:
        return _End, (self._connection, self._mark, self._parent)

    def send(self, message: WorkerTask | Acknowledgement | TaskResult) -> None:
        if isinstance(message, WorkerTask):
            content = pickle.dumps(message)
        elif isinstance(message, Acknowledgement):
            # The pool knows the keeper.
            content = self._HEAD.pack(message.task, os.getppid())
        else:
            content = self._HEAD.pack(message.task, 0) + message.result.value
        self._connection.send_bytes(self._mark + content)

    def recv(self) -> WorkerTask | Acknowledgement | TaskResult:
        message = self._connection.recv_bytes(_LONGEST_MESSAGE)
        if not message.startswith(self._mark):
            raise OSError("The pipe holds what is no message.")
        content = message[len(self._mark) :]
        if os.getpid() != self._parent:
            return pickle.loads(content)
        task, keeper = self._HEAD.unpack_from(content)
        if keeper:
            return Acknowledgement(keeper, task)
        return TaskResult(task, Result(ResultStatus.SUCCESS, content[self._HEAD.size :]))
