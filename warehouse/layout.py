"""Where slices lie on disk and how they may be named.

`<folder>/<table>/shard=<shard>/<slice>@<version>.parquet` (`versions.py`); a file being written
stands there too and ends in `.tmp`. Other files are nobody's rows, whatever they are called.
Does not read or write rows.
"""

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolformer.ground.whole_files import remove_abandoned
from warehouse.errors import SliceNameError
from warehouse.schema import ALL, table_schema, tables
from warehouse.versions import (
    names_in,
    newest_version,
    newest_versions,
    slice_of,
    superseded,
    versions,
    versions_among,
)

EMPTY_SHARD = "none"
"""Directory key of the zero-row slice that lets a view exist over a table without rows."""

EMPTY_SLICE = "empty"
COUNTS_FOLDER = ".counts"
"""Folder of the counts that were read before (`remembered.py`)."""

_SHARD = re.compile(r"[a-z0-9-]+")
_SLICE = re.compile(r"[A-Za-z0-9._-]+")
_ROUND = re.compile(r"round-(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class SliceInfo:
    """One slice on disk; the path is that of its newest version."""

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


def slice_folder(folder: Path, table: str, shard: str, name: str) -> Path:
    """Returns the folder of a slice's versions, whether or not there are any.

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
    return folder / schema.name / f"shard={shard}"


def slice_path(folder: Path, table: str, shard: str, name: str) -> Path | None:
    """Returns the newest version of a slice; None where there is none.

    Raises:
        UnknownTableError: There is no such table.
        SliceNameError: The shard or the name cannot be part of a path.
    """
    return newest_version(slice_folder(folder, table, shard, name), name)


def shard_of(path: Path) -> str | None:
    """Returns the shard key of a version by its folder; None where that is none of a shard."""
    prefix, _, key = path.parent.name.partition("=")
    return key if prefix == "shard" and _SHARD.fullmatch(key) else None


def empty_slice_path(folder: Path, table: str) -> Path | None:
    """Returns the path of a table's zero-row slice; None where it has none."""
    return slice_path(folder, table, EMPTY_SHARD, EMPTY_SLICE)


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
    pattern = "shard=*" if shard is None else slice_folder(folder, table, shard, "x").name
    found = []
    for directory in sorted(table_folder(folder, table).glob(pattern)):
        key = directory.name.removeprefix("shard=")
        if key == EMPTY_SHARD:
            continue
        for path in newest_versions(versions(directory)):
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            found.append(SliceInfo(table, key, slice_of(path) or "", path, size))
    return found


def foreign_files(folder: Path, table_names: Iterable[str]) -> list[Path]:
    """Returns the Parquet files in the folders of these tables that are no version of a slice."""
    return sorted(
        directory / name
        for directory, names in _listed(folder, table_names)
        for name in names
        if name.endswith(".parquet") and slice_of(directory / name) is None
    )


def remove_stale_files(folder: Path, database_file: Path) -> list[Path]:
    """Removes what killed processes left behind and versions nobody reads; returns the paths."""
    candidates = [*folder.glob(".spill.*.tmp"), *(folder / COUNTS_FOLDER).glob("*.tmp")]
    candidates += database_file.parent.glob(f"{glob.escape(database_file.name)}.*.tmp*")
    removed: list[Path] = []
    for directory, names in _listed(folder, tables()):
        candidates += (directory / name for name in names if name.endswith(".tmp"))
        removed += superseded(versions_among(directory / name for name in names))
    for path in removed:
        path.unlink(missing_ok=True)
    return removed + remove_abandoned(candidates)


def _listed(folder: Path, table_names: Iterable[str]) -> Iterator[tuple[Path, list[str]]]:
    """Yields the folders of slices with the names in them, each listed once.

    Patterns are many times as slow, and a warehouse has a folder for each table and shard.
    """
    for table in table_names:
        for directory in table_folder(folder, table).glob("shard=*"):
            yield directory, names_in(directory)
