"""A process of our own that answers one JSON line with another, in namespaces where there are any.

Each request carries an id that cannot be guessed, and the reply the same one. A reply without it
was written by somebody else who found the pipe: it ends the process, and answers no call. Does not
know tools; `tools.running.isolation` asks, `tools.running.worker` answers.
"""

import contextlib
import json
import os
import queue
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from tools.errors import ToolTimeoutError

_REPOSITORY = Path(__file__).resolve().parents[2]
_LONGEST_LINE = 64 * 2**20
_NAMESPACES = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child")
# What a worker gets of our environment: where things lie and how they are written, no secrets.
_ENVIRONMENT = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_.*|PYTHON[A-Z]*|VIRTUAL_ENV|CONDA_PREFIX|"
    "LD_LIBRARY_PATH|JAVA_HOME|SSL_CERT_FILE|SSL_CERT_DIR|HF_HOME|HF_HUB_OFFLINE|.*_NUM_THREADS"
)
_SECONDS_BETWEEN_LOOKS = 0.5
# Looking takes longer where many processes run; it never takes more than this share of the time.
_SHARE_OF_LOOKING = 0.05


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
    shared = "" if _tells_memory() else " (each process by itself)"
    limits = f"own process with time and memory limits{shared}"
    if has_namespaces():
        return f"{limits}, and Linux namespaces without network"
    return (
        f"{limits}; network is refused to Python code only, because this system grants no "
        "namespaces (unshare from util-linux, user namespaces enabled)"
    )


class WorkerProcess:
    """The running process: one JSON line goes in, one comes out.

    Args:
        with_network: Whether it has the network.
        memory_bytes: Most memory that it and what it starts may hold together.
        environment: Names of variables that it gets beside the usual few.
    """

    def __init__(
        self, *, with_network: bool, memory_bytes: int, environment: Sequence[str] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [*_command(with_network=with_network), sys.executable, "-m", "tools.running.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_REPOSITORY,
            env=_environment(environment),
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
        if _tells_memory():
            watching = (self._process, memory_bytes)
            threading.Thread(target=_watch_memory, args=watching, daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._process)

    @property
    def has_said_more(self) -> bool:
        """Whether there is something to read that nobody asked for, its end included."""
        return not self._replies.empty()

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            EOFError: The process ended; or it was ended, which the error tells, for a line that is
                no reply to the request.
            ToolTimeoutError: It did not answer in time.
        """
        assert self._process.stdin is not None
        request_id = secrets.token_hex(16)
        try:
            sent = json.dumps({**request, "id": request_id})
            self._process.stdin.write(sent.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EOFError from error
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            raise ToolTimeoutError(f"The tool did not answer within {seconds:g} s.") from None
        with contextlib.suppress(ValueError):
            reply = json.loads(line)
            if isinstance(reply, dict) and reply.get("id") == request_id:
                return reply
        self.end()
        if not line:
            raise EOFError
        raise EOFError(" (it, or a process that it started, wrote what is no reply to the call)")

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


def _watch_memory(process: "subprocess.Popen[bytes]", most_bytes: int) -> None:
    """End the process when it and all that it started hold more memory together."""
    while process.poll() is None:
        began = time.monotonic()
        if _resident_bytes(process.pid) > most_bytes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        took = time.monotonic() - began
        time.sleep(max(_SECONDS_BETWEEN_LOOKS, took / _SHARE_OF_LOOKING))


@cache
def _tells_memory() -> bool:
    """Whether this system tells how much memory a family of processes holds."""
    return _resident_bytes(os.getpid()) > 0


def _resident_bytes(first: int) -> int:
    """Memory of a process, its session, and all that these started; what they share counts once."""
    pages, children = {}, defaultdict(list)
    members = [first]
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # What stands before the last bracket is a name, which may hold anything.
            fields = file.read_text(errors="replace").rpartition(")")[2].split()
            pid, parent, session = int(file.parent.name), int(fields[1]), int(fields[3])
            children[parent].append(pid)
            pages[pid] = int(fields[21])
            if session == first:
                members.append(pid)
    found: set[int] = set()
    while members:
        member = members.pop()
        if member not in found:
            found.add(member)
            members += children[member]
    return sum(_own_share(pid, pages[pid]) for pid in found if pid in pages)


def _own_share(pid: int, pages: int) -> int:
    """Bytes of a process, with its share of what it has in common with others, where told."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _command(*, with_network: bool) -> list[str]:
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
    return {**ours, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
