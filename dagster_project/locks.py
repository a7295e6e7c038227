"""Locks that keep processes out of each other's way, of one machine or of many.

A file lock is held by the kernel. It works for the processes of one machine, and for those of many
where the file system passes it on, which `whether_locks_work` tries.

Does not know what is locked; `dagster_project.home` names it.
"""

from pathlib import Path
from urllib.parse import urlsplit

import filelock

FILES = "files"
POSTGRESQL = ("postgresql://", "postgres://")


class FileLock(filelock.FileLock):
    """A lock on a file, which the kernel frees when its process ends, however it ends."""

    def regain(self) -> bool:
        """Always False: the kernel takes no lock away."""
        return False


def shown(address: str) -> str:
    """The address of a database without its password.

    Example:
        >>> shown("postgresql://ada:secret@host:5432/toolformer")
        'postgresql://ada@host:5432/toolformer'
    """
    password = urlsplit(address).password if "://" in address else None
    return address.replace(f":{password}@", "@") if password else address


def file_lock(folder: Path, name: str) -> FileLock:
    """The lock of a name among those of a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock", thread_local=False)
