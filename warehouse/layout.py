"""Where slices lie on disk and how they may be named.

`<folder>/<table>/shard=<shard>/<slice>.parquet`; a file being written stands beside its target
and ends in `.tmp`, since whatever ends in `.parquet` would be read by the views.
Does not read or write rows.
"""

import glob
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from toolformer.ground.whole_files import host_digits
from warehouse.errors import SliceNameError
from warehouse.schema import ALL, table_schema, tables

EMPTY_SHARD = "none"
"""Directory key of the zero-row slice that lets a view exist over a table without rows."""

_EMPTY_SLICE = "empty"
_SHARD = re.compile(r"[a-z0-9-]+")
_SLICE = re.compile(r"[A-Za-z0-9._-]+")
_ROUND = re.compile(r"round-(\d+)\.(.+)")
_TEMPORARY = re.compile(r".+\.(?P<pid>\d+)\.(?P<host>[0-9a-f]{6})[0-9a-f]{8}\.tmp")
_FOREIGN_FILE_AGE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SliceInfo:
    """One slice on disk."""

    table: str
    shard: str
    name: str
    path: Path
    bytes: int


def table_folder(folder: Path, table: str) -> Path:
    """Returns the folder of a table.

    Raises:
        UnknownTableError: There is no such table.
    """
    return folder / table_schema(table).name


def slice_path(folder: Path, table: str, shard: str, name: str) -> Path:
    """Returns the path of a slice, whether or not it exists.

    Raises:
        UnknownTableError: There is no such table.
        SliceNameError: The shard or the name cannot be part of a path.
    """
    schema = table_schema(table)
    if not _SHARD.fullmatch(shard):
        raise SliceNameError(
            f"'{shard}' is no shard key: expected lower-case letters, digits and hyphens, "
            "such as 'shard-00000'. Rename the shard."
        )
    if not _SLICE.fullmatch(name) or name.startswith("."):
        raise SliceNameError(
            f"'{name}' is no slice name: expected letters, digits, '.', '_' and '-', and no '.' "
            "in front. Replace the other characters, for example '/' by '-'."
        )
    if schema.is_cross_shard and shard not in (ALL, EMPTY_SHARD):
        raise SliceNameError(
            f"Table '{table}' does not belong to one shard, but shard '{shard}' was given: "
            f"expected '{ALL}'."
        )
    return folder / schema.name / f"shard={shard}" / f"{name}.parquet"


def empty_slice_path(folder: Path, table: str) -> Path:
    """Returns the path of a table's zero-row slice."""
    return slice_path(folder, table, EMPTY_SHARD, _EMPTY_SLICE)


def split_round(name: str) -> tuple[int, str]:
    """Returns the sampling round of a slice name and the rest of it.

    Example:
        >>> split_round("Calculator"), split_round("round-2.Calculator")
        ((1, 'Calculator'), (2, 'Calculator'))
    """
    match = _ROUND.fullmatch(name)
    return (int(match[1]), match[2]) if match else (1, name)


def name_in_round(round_number: int, name: str) -> str:
    """Returns the name that a slice has in a sampling round; `split_round` takes it apart.

    Example:
        >>> name_in_round(1, "Calculator"), name_in_round(2, "Calculator")
        ('Calculator', 'round-2.Calculator')
    """
    return name if round_number == 1 else f"round-{round_number}.{name}"


def list_slices(folder: Path, table: str, shard: str | None = None) -> list[SliceInfo]:
    """Lists the slices of a table by shard and name, without the zero-row one.

    A slice that disappears while the list is made is left out.
    """
    pattern = "shard=*" if shard is None else slice_path(folder, table, shard, "x").parent.name
    found = []
    for path in table_folder(folder, table).glob(f"{pattern}/*.parquet"):
        key = path.parent.name.removeprefix("shard=")
        if key == EMPTY_SHARD:
            continue
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            continue
        found.append(SliceInfo(table, key, path.stem, path, size))
    return sorted(found, key=lambda info: (info.shard, info.name))


def remove_stale_files(folder: Path, database_file: Path) -> list[Path]:
    """Removes what processes left behind that were killed, and returns the paths.

    A file of this machine is stale when its process is gone, one of another machine when it is
    a day old.
    """
    candidates = [*folder.glob(".spill.*.tmp")]
    candidates += database_file.parent.glob(f"{glob.escape(database_file.name)}.*.tmp")
    for table in tables():
        candidates += table_folder(folder, table).glob("shard=*/*.tmp")
    removed = []
    for path in candidates:
        if _is_stale(path):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _is_stale(path: Path) -> bool:
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    if match["host"] == host_digits():
        return not _is_running(int(match["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _FOREIGN_FILE_AGE_SECONDS
    except FileNotFoundError:
        return False


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
