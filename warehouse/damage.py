"""Compares Parquet files with the digests in catalogues, before anything is decoded.

Flipped bits can decode to other rows. Each file is compared once per process.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from warehouse.catalogue import Entry
from warehouse.errors import DamagedPartitionError

# Files never change, so one comparison is enough.
_verified: set[str] = set()
_damaged: dict[str, DamagedPartitionError] = {}


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


def read_verified(folder: Path, shard: str, entry: Entry) -> bytes:
    """Return the bytes of a partition's file.

    Raises:
        DamagedPartitionError: The file is missing, or other than it was written.
    """
    path = _path(folder, shard, entry)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, shard, entry, error) from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _set_aside(path, shard, entry)
    return content


def verify(folder: Path, shard: str, entry: Entry) -> None:
    """Compare the file of a partition with its digest, unless this process has done so.

    A damaged file is renamed, so that the next build makes the partition again.

    Raises:
        DamagedPartitionError: The file is missing, or other than it was written.
    """
    path = _path(folder, shard, entry)
    if str(path) in _verified and path.exists():
        return
    if is_damaged(folder, shard, entry):
        raise _set_aside(path, shard, entry)
    _verified.add(str(path))


def is_damaged(folder: Path, shard: str, entry: Entry) -> bool:
    """Return whether the file of a partition is other than it was written.

    Raises:
        DamagedPartitionError: It is missing or cannot be read.
    """
    path = _path(folder, shard, entry)
    try:
        return file_sha256(path) != entry.sha256
    except OSError as error:
        raise _unreadable(path, shard, entry, error) from error


def _path(folder: Path, shard: str, entry: Entry) -> Path:
    return folder / str(entry.path(shard))


def _set_aside(path: Path, shard: str, entry: Entry) -> DamagedPartitionError:
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(OSError):
        path.rename(aside)
    where = "remains" if path.exists() else f"was renamed to '{aside.name}'"
    remedy = "Remove the file, and run" if path.exists() else "Run"
    error = DamagedPartitionError(
        f"{_named(shard, entry)} is damaged: '{path}' has other bytes than were written. The file "
        f"{where}. {remedy} {_COMMAND}, which makes the partition again."
    )
    _damaged[str(path)] = error
    return error


def _unreadable(path: Path, shard: str, entry: Entry, error: OSError) -> DamagedPartitionError:
    if str(path) in _damaged and isinstance(error, FileNotFoundError):
        return _damaged[str(path)]
    return DamagedPartitionError(
        f"{_named(shard, entry)} cannot be read: '{path}' {_problem(error)}. Expected the file "
        f"that the catalogue names. Restore a copy of it, or run {_COMMAND}, which makes the "
        "partition again."
    )


_COMMAND = "`toolformer build` (`train` or `evaluate` for what these commands make)"


def _problem(error: OSError) -> str:
    is_missing = isinstance(error, FileNotFoundError)
    return "is missing" if is_missing else f"gives an error ({error.strerror or error})"


def _named(shard: str, entry: Entry) -> str:
    return f"Partition '{entry.name}' of table '{entry.table}' and shard '{shard}'"
