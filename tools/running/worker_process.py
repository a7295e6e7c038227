"""A worker process that answers a JSON message with another, in namespaces where there are any."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache, partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import psutil

from tools.running.call_threads import answer_in_time

_REPOSITORY = Path(__file__).resolve().parents[2]
_LONGEST_REPLY = 64 * 2**20
# Of what the process prints, this much of a line is kept.
_LINE_BYTES = 500
# The limit of memory counts what is mapped, and glibc maps 64 MiB for a thread's first allocation,
# for up to eight threads a core: on many cores a library's idle threads would use up the limit.
_ARENAS = "2"
_NAMESPACES = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child")
# What a worker gets of our environment: where things lie and how they are written, no secrets.
_ENVIRONMENT = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_.*|PYTHON[A-Z]*|VIRTUAL_ENV|CONDA_PREFIX|"
    "LD_LIBRARY_PATH|JAVA_HOME|SSL_CERT_FILE|SSL_CERT_DIR|HF_HOME|HF_HUB_OFFLINE|MALLOC_ARENA_MAX|"
    ".*_NUM_THREADS"
)


@cache
def has_namespaces() -> bool:
    """Whether this system lets us start processes in namespaces of their own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    done = subprocess.run(
        [unshare, *_NAMESPACES, "--net", "true"], capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def isolation_level() -> str:
    """What holds for tools from outside on this system, as a sentence without a full stop."""
    limits = "own process with time and memory limits"
    if has_namespaces():
        return f"{limits}, and Linux namespaces without network"
    return (
        f"{limits}; network is refused to Python code only, because this system grants no "
        "namespaces (unshare from util-linux, user namespaces enabled)"
    )


class WorkerProcess:
    """The running process: one request goes in, one reply comes out.

    Args:
        environment: Names of variables that it gets beside the usual few.
    """

    def __init__(self, *, with_network: bool, environment: Sequence[str]) -> None:
        self._connection, workers_end = Pipe()
        with workers_end:
            number = workers_end.fileno()
            self._process = subprocess.Popen(
                [
                    *_namespaces(with_network=with_network),
                    *(sys.executable, "-m", "tools.running.worker", str(number)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[number],
                cwd=_REPOSITORY,
                env=_environment(environment),
                # A group of its own, so that all of it can be ended.
                start_new_session=True,
            )
        self._last_lines: deque[bytes] = deque(maxlen=5)
        assert self._process.stdout is not None
        # The thread holds the lines and not this object, which may go while it waits.
        threading.Thread(
            target=_keep_lines, args=(self._process.stdout, self._last_lines), daemon=True
        ).start()
        self._finalizer = weakref.finalize(self, _end, self._process, self._connection)

    @property
    def has_unread(self) -> bool:
        """Whether there is something to read that nobody asked for, its end included."""
        return self._connection.poll()

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Args:
            request: What JSON can hold.
            seconds: How long it may take to be read and answered, above 0.

        Raises:
            EOFError: The process ended, or was ended for what is no reply, which the error says.
            ToolTimeoutError: It did not answer in time, and is to be ended.
        """
        # It may not read, and somebody else may have written a length with nothing behind it.
        reply = answer_in_time(partial(self._exchange, json.dumps(request).encode()), seconds)
        if isinstance(reply, EOFError | ConnectionError):
            raise EOFError from reply
        if isinstance(reply, OSError | ValueError):
            self.end()
            raise EOFError(" (it, or what it started, wrote what is no reply)") from reply
        return reply

    def _exchange(self, request: bytes) -> dict[str, Any]:
        self._connection.send_bytes(request)
        return json.loads(self._connection.recv_bytes(_LONGEST_REPLY))

    def last_words(self) -> str:
        """What the process printed last, and how it ended, as an insertion."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = None
        how = f"signal {signal.Signals(-status).name}" if status and status < 0 else f"{status}"
        lines = [line.decode("utf-8", errors="replace").strip() for line in self._last_lines]
        last = next((f": {line}" for line in reversed(lines) if line), "")
        return f" (exit status {how}{last})"

    def end(self) -> None:
        """End the process and all that it started."""
        self._finalizer()


def _keep_lines(pipe: IO[bytes], lines: "deque[bytes]") -> None:
    with pipe:
        while line := pipe.readline(2**20):
            lines.append(line[:_LINE_BYTES])


def _end(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    # Where there are no namespaces, what has left the group would go on: an MCP server, say.
    with contextlib.suppress(psutil.Error):
        for started in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                started.kill()
    with contextlib.suppress(ProcessLookupError):
        # `unshare` takes its child with it, and the child, first of its namespace, all the others.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    connection.close()


def _namespaces(*, with_network: bool) -> list[str]:
    if not has_namespaces():
        return []
    return ["unshare", *_NAMESPACES, *(() if with_network else ("--net",))]


def _environment(names: Sequence[str]) -> dict[str, str]:
    """What of ours a worker gets, with this package to be found."""
    path = os.pathsep.join(filter(None, (str(_REPOSITORY), os.environ.get("PYTHONPATH"))))
    ours = {
        name: value
        for name, value in os.environ.items()
        if name in names or _ENVIRONMENT.fullmatch(name)
    }
    return {"MALLOC_ARENA_MAX": _ARENAS, **ours, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
