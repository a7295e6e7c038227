"""File locks between processes, and a check that the file system supports them."""

import errno
import functools
import logging
import os
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from toolformer.base.atomic_files import beside
from toolformer.errors import ToolformerError
from toolformer.home.progress import show_waiting

# Mount options of NFS and Lustre that make locks local to each machine.
_LOCKS_OF_ONE_MACHINE = {"nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock"}
_COMMAND_WIDTH = 100
_SILENT_SECONDS = 0.5
_LOGGER = logging.getLogger(__name__)


class LockError(ToolformerError):
    """The locks of a file system do not exclude other processes."""


class NamedLock(FileLock):
    """Lock that logs which command it waits for."""

    def acquire(self, timeout: float | None = None, *arguments: Any, **options: Any) -> Any:
        """Wait silently for half a second, then log the wait; see `FileLock.acquire`."""
        try:
            # Catalogues are locked for milliseconds: reporting such waits would be noise.
            return super().acquire(0 if timeout == 0 else _SILENT_SECONDS, poll_interval=0.01)
        except Timeout:
            if timeout == 0:
                raise
        file = Path(self.lock_file)
        with show_waiting(f"waiting for {holder_of(file)} to release {file.stem}", _LOGGER):
            return super().acquire(timeout, *arguments, **options)


class RemovedLock(NamedLock):
    """Lock whose file is removed on release, since each output has its own file."""

    def _release(self) -> None:
        # The lock is still held here, so a waiting process notices and creates the file again.
        Path(self.lock_file).unlink(missing_ok=True)
        super()._release()


def file_lock(folder: Path, name: str, kind: type[NamedLock] = NamedLock) -> FileLock:
    """Return a lock in a folder; the kernel releases it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    return kind(folder / f"{name}.lock", thread_local=False)


def holder_of(file: Path) -> str:
    """Return the command that holds a lock, or "another run" if this machine cannot see it."""
    import psutil

    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        inode = str(file.stat().st_ino)
        # 1: FLOCK  ADVISORY  WRITE 4242 fe:00:5522428 0 EOF
        [number] = {int(lock[4]) for lock in locks if lock[5].rpartition(":")[2] == inode}
        words = psutil.Process(number).cmdline()
    except (OSError, ValueError, psutil.Error):
        return "another run"
    names = [Path(word).name for word in words]
    for program in {"toolformer", "dagster_project.cli"}.intersection(names):
        command = " ".join(["toolformer", *words[names.index(program) + 1 :]])
        return f"`{textwrap.shorten(command, _COMMAND_WIDTH, placeholder=' …')}` (process {number})"
    return f"another run (process {number})"


@functools.cache
def check_locks(machine: Path, shared: Path) -> None:
    """Raise `LockError` if locks fail in either folder; checked once per process."""
    for folder in dict.fromkeys((machine, shared)):
        folder.mkdir(parents=True, exist_ok=True)
        why = why_locks_fail(folder)
        if why is not None:
            raise LockError(
                f"File locks in '{folder}' do not exclude other processes: {why}. "
                f"{remedy(folder, machine=machine)}, then run the same command again."
            )


def remedy(folder: Path, *, machine: Path) -> str:
    """Return what to do if locks in the folder of this machine, or in the shared one, fail."""
    if folder == machine:
        return "Set TOOLFORMER_CACHE to a folder on a local disk of this machine"
    return "Mount the shared folder with mount options under which all machines see its locks"


def why_locks_fail(folder: Path) -> str | None:
    """Return why two processes could hold a lock in this existing folder at once, or None."""
    options = _LOCKS_OF_ONE_MACHINE.intersection(_mount_options(folder))
    if options:
        return f"it is mounted with {', '.join(sorted(options))}, so each machine locks for itself"
    import fcntl

    with ExitStack() as stack:
        try:
            probe = stack.enter_context(beside(folder / "trial"))
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
    import psutil

    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return []
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount.mountpoint)]
    # If two mounts have the same mount point, the later one hides the earlier one.
    nearest = max(reversed(above), key=lambda mount: len(mount.mountpoint), default=None)
    return nearest.opts.split(",") if nearest else []
