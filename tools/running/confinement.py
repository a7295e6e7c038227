"""Confines the process of a plugin before any of the plugin's code is imported."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_IS_LINUX = sys.platform == "linux"
_LIBC = ctypes.CDLL(None, use_errno=True)
# Constants of <sched.h>, <sys/prctl.h> and <malloc.h>; Python has names for some of them from 3.12.
_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
_SIGNAL_AT_PARENTS_DEATH = 1
_ARENA_MAX = -8
# The memory limit counts mapped memory. glibc maps 64 MiB for a thread's first allocation, for up
# to eight threads per core, so a library's idle threads would reach the limit on many cores.
_ARENAS = "2"
# Environment variables that a tool inherits: locations and locale settings, but no secrets.
_ENVIRONMENT = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_.*|PYTHON[A-Z]*|VIRTUAL_ENV|CONDA_PREFIX|"
    "LD_LIBRARY_PATH|JAVA_HOME|SSL_CERT_FILE|SSL_CERT_DIR|HF_HOME|HF_HUB_OFFLINE|MALLOC_ARENA_MAX|"
    ".*_NUM_THREADS"
)


def confine(memory_bytes: int, environment: Sequence[str], network: str) -> None:
    """Restrict this process.

    Args:
        memory_bytes: Maximum memory that the process and each of its children may map.
        environment: Names of variables to keep, in addition to the usual ones.
        network: `open`, `none` (a namespace without devices), or `refused` to Python code.
    """
    # Ctrl-C in a terminal should reach only the parent, which ends this process.
    os.setsid()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in environment or _ENVIRONMENT.fullmatch(name)
    }
    os.environ.clear()
    os.environ.update({"MALLOC_ARENA_MAX": _ARENAS, **kept})
    # Output of the tool belongs to the log, since standard output may be the result of a command.
    os.dup2(2, 1)
    if network == "none":
        _leave_network()
    elif network == "refused":
        _refuse_sockets()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _IS_LINUX:
        _LIBC.prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))


@cache
def has_namespaces() -> bool:
    """Return whether a process may enter an empty network namespace on this system."""
    code = "from tools.running import confinement; confinement._leave_network()"
    command, folder = [sys.executable, "-c", code], Path(__file__).parents[2]
    probe = subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=False)
    return probe.returncode == 0


def isolation_level() -> str:
    limits = "own process with time and memory limits"
    if has_namespaces():
        return f"{limits}, and Linux namespaces without network"
    return (
        f"{limits}; network is refused to Python code only, because this system grants no "
        "namespaces (Linux with user namespaces enabled)"
    )


def _leave_network() -> None:
    """Enter a network namespace without devices; raise OSError if the system refuses."""
    user, group = os.getuid(), os.getgid()
    if not _IS_LINUX or _LIBC.unshare(_NEW_USER_AND_NETWORK):
        raise OSError(ctypes.get_errno(), "no namespaces of user and network")
    # Keeps the user and group ids.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _refuse_sockets() -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(
            "This tool has no network. A tool that needs it declares `needs_network = True`."
        )

    for name in ("connect", "connect_ex", "bind", "sendto", "sendmsg"):
        setattr(socket.socket, name, refuse)
