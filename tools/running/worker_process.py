"""A process of our own that answers one JSON line with another, in namespaces where there are any.

Does not know tools; `tools.running.isolation` asks, `tools.running.worker` answers.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

from tools.errors import ToolTimeoutError

_REPOSITORY = Path(__file__).resolve().parents[2]
_LONGEST_LINE = 64 * 2**20
_NAMESPACES = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child")


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
    if has_namespaces():
        return "own process with memory and time limits, and Linux namespaces without network"
    return (
        "own process with memory and time limits; network is refused to Python code only, because "
        "this system grants no namespaces (unshare from util-linux, user namespaces enabled)"
    )


class WorkerProcess:
    """The running process: one JSON line goes in, one comes out."""

    def __init__(self, *, with_network: bool) -> None:
        self._process = subprocess.Popen(
            [*_command(with_network=with_network), sys.executable, "-m", "tools.running.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_REPOSITORY,
            env=_environment(),
            # A group of its own, so that all of it can be ended.
            start_new_session=True,
        )
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._last_lines: deque[bytes] = deque(maxlen=5)
        # The threads hold queues and not this object, which may go while they wait.
        for pipe, take in (
            (self._process.stdout, self._replies.put),
            (self._process.stderr, self._last_lines.append),
        ):
            assert pipe is not None
            threading.Thread(target=_drain, args=(pipe, take), daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._process)

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            EOFError: The process ended.
            ToolTimeoutError: It did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EOFError from error
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            raise ToolTimeoutError(f"The tool did not answer within {seconds:g} s.") from None
        try:
            return json.loads(line)
        except ValueError as error:
            # Empty at its end; anything else was written by somebody who found the pipe.
            self.end()
            raise EOFError from error

    def last_words(self) -> str:
        """What the process said on standard error, and how it ended, as an insertion."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = None
        how = f"signal {signal.Signals(-status).name}" if status and status < 0 else f"{status}"
        lines = [line.decode("utf-8", errors="replace").strip() for line in self._last_lines]
        said = next((f": {line[:500]}" for line in reversed(lines) if line), "")
        return f" (exit status {how}{said})"

    def end(self) -> None:
        """End the process and all that it started."""
        self._finalizer()


def _drain(pipe: IO[bytes], take: Any) -> None:
    """Hand on lines, cut where no reply is as long, and an empty one at the end."""
    with pipe:
        while line := pipe.readline(_LONGEST_LINE):
            take(line)
    take(b"")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        # `unshare` takes its child with it, and the child, first of its namespace, all the others.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _command(*, with_network: bool) -> list[str]:
    if not has_namespaces():
        return []
    return ["unshare", *_NAMESPACES, *(() if with_network else ("--net",))]


def _environment() -> dict[str, str]:
    """Ours, with this package to be found; the worker needs no accelerator and no hub."""
    path = os.pathsep.join(filter(None, (str(_REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
