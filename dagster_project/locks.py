"""Locks that keep processes out of each other's way: files, held by the kernel.

Those of one machine always work. Those that many machines share depend on the file system between
them, so a folder is tried first.

Does not know what is locked; `dagster_project.home` names it.
"""

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import filelock

from toolformer.errors import ToolformerError
from toolformer.ground.whole_files import beside

FILES = "files"
POSTGRESQL = ("postgresql://", "postgres://")
_MOUNTS = Path("/proc/self/mounts")
# Of NFS and Lustre: each machine locks for itself.
_LOCKS_OF_ONE_MACHINE = {
    *("nolock", "local_lock=all", "local_lock=flock"),
    *("localflock", "noflock"),
}


class LockError(ToolformerError):
    """Locks do not exclude others, or cannot be reached."""


class FileLock(filelock.FileLock):
    """A lock on a file, which the kernel frees when its process ends, however it ends."""

    def regain(self) -> bool:
        """Always False: the kernel takes no lock away."""
        return False


def file_lock(folder: Path, name: str) -> FileLock:
    """The lock of a name among those of a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock", thread_local=False)


def why_locks_fail(folder: Path) -> str | None:
    """Take a lock twice in a folder that is there; None where the second is refused.

    Whether another machine is refused too, a machine cannot try alone: how the folder is mounted
    tells.
    """
    told = _LOCKS_OF_ONE_MACHINE.intersection(_mount_options(folder))
    if told:
        return f"it is mounted with {', '.join(sorted(told))}, so each machine locks for itself"
    import fcntl

    probe = beside(folder / "trial")
    with ExitStack() as stack:
        try:
            stack.callback(probe.unlink, missing_ok=True)
            first, second = (os.open(probe, os.O_RDWR | os.O_CREAT) for _ in range(2))
            stack.callback(os.close, first)
            stack.callback(os.close, second)
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return f"a file in it cannot be locked: {error.strerror or error}"
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            refused = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)
            return None if error.errno in refused else f"{error.strerror or error}"
    return "a file in it can be locked twice at the same time"


def _mount_options(folder: Path) -> list[str]:
    """Options of the file system that a folder lies on; none where the system does not tell."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    place, options = Path(), []
    for line in mounts:
        _, point, _, told, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        # Of two at one place the later one is on top.
        if folder.resolve().is_relative_to(mounted) and len(mounted.parts) >= len(place.parts):
            place, options = mounted, told.split(",")
    return options


def shown(address: str) -> str:
    """The address of a database or an object store without its password.

    Example:
        >>> shown("postgresql://ada:secret@host:5432/toolformer")
        'postgresql://ada@host:5432/toolformer'
    """
    password = urlsplit(address).password if "://" in address else None
    return address.replace(f":{password}@", "@") if password else address
