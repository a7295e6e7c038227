"""Where partitions lie on disk and how they may be named.

`<folder>/<table>/shard=<shard>/<partition>@<version>.parquet` (`versions.py`); a file being written
stands there too and ends in `.tmp`. Other files are ignored.
A zero-row partition under `shard=none` lets a view exist over a table without rows, and over files
that were written before the table had all its columns.
"""

import glob
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from toolformer.base.digests import hex_digest
from toolformer.base.whole_files import remove_abandoned, write_whole
from warehouse.errors import LayoutError, PartitionNameError
from warehouse.schema import ALL, table_schema, tables
from warehouse.versions import (
    is_damaged,
    names_in,
    newest_in,
    newest_version,
    superseded,
    versions_among,
)

EMPTY_SHARD = "none"
"""Directory key of the zero-row partition."""

LAYOUT_VERSION = 1
"""Raised when stored partitions cannot be read, or counted, like those that are written now."""

LAYOUT_FILE = "layout-version"
COUNTS_FOLDER = ".counts"
"""Folder of the counts that were read before (`remembered.py`)."""

_SHARD = re.compile(r"[a-z0-9-]+")
_PARTITION = re.compile(r"[A-Za-z0-9._-]+")
_ROUND = re.compile(r"round-(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition on disk; the path is that of its newest version."""

    table: str
    shard: str
    name: str
    path: Path
    bytes: int


def table_folder(folder: Path, table: str) -> Path:
    """Returns the folder of a table."""
    return folder / table_schema(table).name


def partition_folder(folder: Path, table: str, shard: str, name: str) -> Path:
    """Returns the folder of a partition's versions, whether or not there are any.

    Raises:
        UnknownTableError: There is no such table.
        PartitionNameError: The shard or the name cannot be part of a path.
    """
    schema = table_schema(table)
    if not _SHARD.fullmatch(shard):
        raise PartitionNameError(
            f"'{shard}' is no shard key: expected lower-case letters, digits and hyphens, "
            "such as 'shard-00000'. Rename the shard."
        )
    if not _PARTITION.fullmatch(name) or name.startswith("."):
        raise PartitionNameError(
            f"'{name}' is no partition name: expected letters, digits, '.', '_' and '-', and no "
            "'.' in front. Replace the other characters, for example '/' by '-'."
        )
    if schema.is_cross_shard and shard not in (ALL, EMPTY_SHARD):
        raise PartitionNameError(
            f"Table '{table}' does not belong to one shard, but shard '{shard}' was given: "
            f"expected '{ALL}'."
        )
    return folder / schema.name / f"shard={shard}"


def partition_path(folder: Path, table: str, shard: str, name: str) -> Path | None:
    """Returns the newest version of a partition, or None; see `partition_folder`."""
    return newest_version(partition_folder(folder, table, shard, name), name)


def shard_of(path: Path) -> str | None:
    """Returns the shard key of a version by its folder; None where that is none of a shard."""
    prefix, _, key = path.parent.name.partition("=")
    return key if prefix == "shard" and _SHARD.fullmatch(key) else None


def empty_partition(table: str) -> str:
    """Returns the name of a table's zero-row partition, another one for other columns."""
    columns = "".join(f"{column.name} {column.type}," for column in table_schema(table).columns)
    return f"empty-{hex_digest(columns)[:16]}"


def empty_partition_path(folder: Path, table: str) -> Path | None:
    """Returns the path of a table's zero-row partition; None where it has none."""
    return partition_path(folder, table, EMPTY_SHARD, empty_partition(table))


def split_round(name: str) -> tuple[int, str]:
    """Returns the sampling round of a partition name and the rest of it.

    Example:
        >>> split_round("Calculator"), split_round("round-2.Calculator")
        ((1, 'Calculator'), (2, 'Calculator'))
    """
    match = _ROUND.fullmatch(name)
    return (int(match[1]), match[2]) if match else (1, name)


def name_in_round(round_number: int, name: str) -> str:
    """Returns the name that a partition has in a sampling round; `split_round` takes it apart.

    Example:
        >>> name_in_round(1, "Calculator"), name_in_round(2, "Calculator")
        ('Calculator', 'round-2.Calculator')
    """
    return name if round_number == 1 else f"round-{round_number}.{name}"


def list_partitions(folder: Path, table: str, shard: str | None = None) -> list[PartitionInfo]:
    """Lists the partitions of a table by shard and name, without the zero-row one.

    A partition that disappears while the list is made is left out.
    """
    of_table = table_folder(folder, table)
    folders = (
        sorted(name for name in names_in(of_table) if name.startswith("shard="))
        if shard is None
        else [partition_folder(folder, table, shard, "x").name]
    )
    partitions = []
    for name in folders:
        key = name.removeprefix("shard=")
        if key == EMPTY_SHARD:
            continue
        for partition, path in newest_in(of_table / name).items():
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            partitions.append(PartitionInfo(table, key, partition, path, size))
    return partitions


def files_of(folder: Path, table: str, shards: Collection[str] | None = None) -> list[Path]:
    """Returns the newest versions of a table's partitions, that without rows among them.

    Args:
        shards: Only the partitions of these shards; by default all.
    """
    empty = empty_partition_path(folder, table)
    keys = [None] if shards is None or table_schema(table).is_cross_shard else sorted(shards)
    paths = [info.path for shard in keys for info in list_partitions(folder, table, shard)]
    return paths if empty is None else [empty, *paths]


def damaged_partitions(folder: Path, table_names: Iterable[str] | None = None) -> list[Path]:
    """Returns the partitions whose bytes are not those that were written, by path."""
    names = tables() if table_names is None else table_names
    return sorted(path for table in names for path in files_of(folder, table) if is_damaged(path))


def remove_stale_files(folder: Path, database_file: Path) -> None:
    """Removes what killed processes left behind, and versions that nobody reads."""
    candidates = [*(folder / COUNTS_FOLDER).glob("*.tmp")]
    candidates += database_file.parent.glob(f"{glob.escape(database_file.name)}.*.tmp*")
    for table in tables():
        for directory in table_folder(folder, table).glob("shard=*"):
            # Listed once: a warehouse has a folder for each table and shard, and in nearly all of
            # them each partition has one version.
            names = names_in(directory)
            partitions = {name.rpartition("@")[0] for name in names if not name.endswith(".tmp")}
            if len(partitions) == len(names):
                continue
            paths = [directory / name for name in names]
            candidates += (path for path in paths if path.suffix == ".tmp")
            for old in superseded(versions_among(paths)):
                old.unlink(missing_ok=True)
    remove_abandoned(candidates)


def check_layout(folder: Path) -> None:
    """Refuses a warehouse of another layout; one without partitions may have none yet.

    Raises:
        LayoutError: It has another version, or partitions and no version.
    """
    file = folder / LAYOUT_FILE
    version = file.read_text(errors="replace").strip() if file.exists() else "none"
    if version == str(LAYOUT_VERSION):
        return
    partitions = (
        path for path in folder.glob("*/shard=*/*.parquet") if shard_of(path) != EMPTY_SHARD
    )
    if version != "none" or any(partitions):
        raise layout_error(folder, version)


def layout_error(place: Path | str, version: str) -> LayoutError:
    """Returns the error for partitions of another layout."""
    return LayoutError(
        f"The warehouse '{place}' has layout version {version}, expected {LAYOUT_VERSION}: its "
        "partitions cannot be read by this version of toolformer. Begin anew: copy toolformer.yaml "
        "into an empty folder, then run `TOOLFORMER_HOME=FOLDER toolformer build` (with an object "
        "store, set TOOLFORMER_STORE to an empty prefix too)."
    )


def record_layout(folder: Path) -> None:
    """Writes the version into a warehouse that has none yet; see `check_layout`."""
    check_layout(folder)
    file = folder / LAYOUT_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, f"{LAYOUT_VERSION}\n")
