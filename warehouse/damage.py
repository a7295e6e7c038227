"""Compares Parquet files with the digests in catalogues, before anything is decoded.

Flipped bits can decode to other rows. Each file is compared once per process.
"""

import hashlib
from pathlib import Path

from warehouse.catalogue import Entry
from warehouse.errors import DamagedPartitionError

# Files never change, so one comparison is enough.
_verified: set[str] = set()
_damaged: dict[str, DamagedPartitionError] = {}


_DAMAGED = "has other bytes than were written"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_known(path: str) -> None:
    """Raise again if this process has renamed a damaged file; to be called if it is missing.

    The run that found it fails, instead of going on as if there had never been a partition.

    Raises:
        DamagedPartitionError: This process has.
    """
    if path in _damaged:
        raise _damaged[path]


def verify(folder: Path, shard: str, entry: Entry) -> None:
    """Compare the file of a partition with its digest, unless this process has done so.

    A damaged file is renamed, so that the next build makes the partition again.

    Raises:
        DamagedPartitionError: The file is missing, or other than it was written.
    """
    path = folder / str(entry.path(shard))
    if str(path) in _verified and path.exists():
        return
    if problem := problem_of(path, entry):
        raise _refused(path, shard, entry, problem)
    _verified.add(str(path))


def problem_of(path: Path, entry: Entry) -> str | None:
    """Return what is wrong with the file of a partition; None if it is as it was written."""
    try:
        return None if file_sha256(path) == entry.sha256 else _DAMAGED
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _refused(path: Path, shard: str, entry: Entry, problem: str) -> DamagedPartitionError:
    refuse_known(str(path))
    remedy = "Restore a copy of it, or run"
    if problem == _DAMAGED:
        aside = path.with_name(f"{path.name}.damaged")
        try:
            path.rename(aside)
            remedy = f"The file was renamed to '{aside.name}'. Run"
        except OSError:
            remedy = "Remove the file, and run"
    error = DamagedPartitionError(
        f"Partition '{entry.name}' of table '{entry.table}' and shard '{shard}' cannot be used: "
        f"'{path}' {problem}. {remedy} `toolformer build` (`train` or `evaluate` for what these "
        "commands make), which makes the partition again."
    )
    if problem == _DAMAGED and not path.exists():
        _damaged[str(path)] = error
    return error
