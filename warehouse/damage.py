"""Compares Parquet files with their digests in the catalogue before they are decoded.

Without that, flipped bits could decode to wrong rows. Each process compares a file only once.
"""

import hashlib
from pathlib import Path

from warehouse.catalogue import Entry
from warehouse.errors import DamagedPartitionError

# Results by path. Published files never change, so one comparison is enough.
_verified: set[str] = set()
_damaged: dict[str, DamagedPartitionError] = {}


_DAMAGED = "differs from the file that was written"


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def raise_if_found_damaged(path: str) -> None:
    """Raise DamagedPartitionError if a missing file was renamed by this process as damaged.

    Otherwise the run that found the damage would continue as if the partition had never existed.
    """
    if path in _damaged:
        raise _damaged[path]


def verify(folder: Path, shard: str, entry: Entry) -> None:
    """Raise DamagedPartitionError if a partition's file is missing, unreadable or damaged.

    A damaged file is renamed, so that the next build makes the partition again.
    """
    path = folder / str(entry.path(shard))
    if str(path) in _verified and path.exists():
        return
    if problem := find_problem(path, entry):
        raise _damage_error(path, shard, entry, problem)
    _verified.add(str(path))


def find_problem(path: Path, entry: Entry) -> str | None:
    """Return a clause that says what is wrong with a partition's file; None if nothing is."""
    try:
        return None if file_sha256(path) == entry.sha256 else _DAMAGED
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _damage_error(path: Path, shard: str, entry: Entry, problem: str) -> DamagedPartitionError:
    raise_if_found_damaged(str(path))
    remedy = "Restore it from a backup, or run"
    if problem == _DAMAGED:
        renamed = path.with_name(f"{path.name}.damaged")
        try:
            path.rename(renamed)
            remedy = f"The file was renamed to '{renamed.name}'. Run"
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
