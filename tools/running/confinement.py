"""Confines the process that runs a tool from outside, before any code of the tool is imported.

    our process       starts the keeper, as the worker of a pool
      keeper          waits, and ends all that is left of the tool
        worker        runs the tool (`tools.running.worker`)

The keeper ends the worker and what it started when the worker ends, when the pool ends the keeper,
and when our process is gone, even by `kill -9`. Linux makes processes that lost their parent
children of the keeper; elsewhere those are lost to it.
"""

import ctypes
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

_IS_LINUX = sys.platform == "linux"
_LIBC = ctypes.CDLL(None, use_errno=True)
# Constants of <sched.h>, <sys/prctl.h> and <malloc.h>; Python has names for some of them from 3.12.
_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
_SIGNAL_AT_PARENTS_DEATH, _BECOME_PARENT_OF_ORPHANS = 1, 36
_ARENA_MAX = -8
# The limit of memory counts what is mapped, and glibc maps 64 MiB for a thread's first allocation,
# for up to eight threads a core: on many cores a library's idle threads would use up the limit.
_ARENAS = "2"
# What a tool gets of our environment: where things lie and how they are written, no secrets.
_ENVIRONMENT = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_.*|PYTHON[A-Z]*|VIRTUAL_ENV|CONDA_PREFIX|"
    "LD_LIBRARY_PATH|JAVA_HOME|SSL_CERT_FILE|SSL_CERT_DIR|HF_HOME|HF_HUB_OFFLINE|MALLOC_ARENA_MAX|"
    ".*_NUM_THREADS"
)
# The end of what the tool printed is kept, for the message when its process ends.
_KEPT_BYTES = 2_000
_LONGEST_LINE = 500
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Confinement:
    """What holds for a worker.

    Attributes:
        memory_bytes: Most memory that the worker may map, and each process that it starts.
        environment: Names of variables that it gets beside the usual few.
        network: `open`, `none` (a namespace without devices), or `refused` to Python code.
        last_words: Gets how the worker ended and what it printed last, as an insertion.
        parent: Id of our process.
    """

    memory_bytes: int
    environment: Sequence[str]
    network: str
    last_words: Connection
    parent: int

    def enter(self) -> None:
        """Split this process into keeper and worker, and return in the worker."""
        # A terminal's Ctrl-C is meant for our process, which ends this one.
        os.setsid()
        _clean_environment(self.environment)
        output, printed = os.pipe()
        if _IS_LINUX:
            _LIBC.prctl(_BECOME_PARENT_OF_ORPHANS, 1)
        if worker := os.fork():
            os.close(printed)
            self._keep(worker, output)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        if self.network == "none":
            _leave_network()
        elif self.network == "refused":
            _refuse_sockets()
        resource.setrlimit(resource.RLIMIT_AS, (self.memory_bytes, self.memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if _IS_LINUX:
            _LIBC.prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
        if hasattr(_LIBC, "mallopt"):
            _LIBC.mallopt(_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))

    def _keep(self, worker: int, output: int) -> None:
        """Wait until the worker is to end or has ended, then end all and this process."""
        # Now: the pool gives this process three seconds to end, also where the machine is busy.
        import psutil

        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        printed, status = b"", None
        try:
            while status is None and os.getppid() == self.parent:
                printed = _with_output(printed, output, _SECONDS_BETWEEN_LOOKS)
                ended, code = os.waitpid(worker, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if ended else None
            printed = _with_output(printed, output, 0)
        finally:
            # The kernel removes each that ends.
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            while children := psutil.Process().children(recursive=True):
                for child in children:
                    with suppress(psutil.Error):
                        child.kill()
                time.sleep(0.01)
            # Our process may be gone.
            with suppress(OSError):
                self.last_words.send_bytes(_last_words(status, printed).encode())
            # The pool takes a worker that ends with status 0 for one that it need not care about.
            os._exit(1)


@cache
def has_namespaces() -> bool:
    """Whether this system lets a process leave the network for a namespace without devices."""
    code = "from tools.running import confinement; confinement._leave_network()"
    command, folder = [sys.executable, "-c", code], Path(__file__).parents[2]
    probe = subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=False)
    return probe.returncode == 0


def isolation_level() -> str:
    """What holds for tools from outside on this system, as a sentence without a full stop."""
    limits = "own process with time and memory limits"
    if has_namespaces():
        return f"{limits}, and Linux namespaces without network"
    return (
        f"{limits}; network is refused to Python code only, because this system grants no "
        "namespaces (Linux with user namespaces enabled)"
    )


def _clean_environment(names: Sequence[str]) -> None:
    """Keep what a tool may have of the environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in names or _ENVIRONMENT.fullmatch(name)
    }
    os.environ.clear()
    os.environ.update({"MALLOC_ARENA_MAX": _ARENAS, **kept})
    if _IS_LINUX:
        # What the process began with can still be read in /proc/self/environ.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        ctypes.memset(start, 0, end - start)


def _leave_network() -> None:
    """Enter a network namespace without devices; raise OSError where that is not granted."""
    user, group = os.getuid(), os.getgid()
    if not _IS_LINUX or _LIBC.unshare(_NEW_USER_AND_NETWORK):
        raise OSError(ctypes.get_errno(), "no namespaces of user and network")
    # The same user inside as outside.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _refuse_sockets() -> None:
    """Where the system isolates no network: Python code at least gets no sockets."""
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(
            "This tool has no network. A tool that needs it declares `needs_network = True`."
        )

    for name in ("connect", "connect_ex", "bind", "sendto", "sendmsg"):
        setattr(socket.socket, name, refuse)


def _with_output(printed: bytes, output: int, seconds: float) -> bytes:
    """Wait for output; return the end of what was printed."""
    if not select.select([output], [], [], seconds)[0]:
        return printed
    more = os.read(output, 2**20)
    if not more:
        # The tool closed its output.
        time.sleep(seconds)
    return (printed + more)[-_KEPT_BYTES:]


def _last_words(status: int | None, printed: bytes) -> str:
    how = signal.Signals(-status).name if status and status < 0 else status
    lines = printed.decode(errors="replace").split("\n")
    last = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
    return f" (exit status {how}{last[:_LONGEST_LINE]})"
