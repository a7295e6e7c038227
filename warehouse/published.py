"""What is published, as the catalogues in the folder of a warehouse say."""

import functools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from warehouse.catalogue import Catalogue, Entry, file_path, parsed
from warehouse.errors import DamagedPartitionError
from warehouse.layout import (
    CATALOGUE_FOLDER,
    EMPTY,
    EMPTY_SHARD,
    RETIRED,
    catalogue_file,
    is_damaged,
    names_in,
    partition_folder,
)
from warehouse.schema import ALL, table_schema, tables

# A stage asks several times for the partitions of a shard.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition.

    Attributes:
        path: of its file; None where it has no rows.
        seal: tells this version from what stood and will stand in its place.
    """

    table: str
    shard: str
    name: str
    path: Path | None
    bytes: int
    seal: str


def read_catalogue(folder: Path, shard: str) -> Catalogue:
    """Returns the catalogue of a shard of the corpus, an empty one where there is none.

    Raises:
        DamagedPartitionError: It is not what was written.
    """
    path = catalogue_file(folder, shard)
    try:
        status = path.stat()
        return _parsed(path, shard, status.st_ino, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        return Catalogue(shard)


@functools.lru_cache(maxsize=_REMEMBERED)
def _parsed(path: Path, shard: str, *_state: int) -> Catalogue:
    return parsed(path.read_bytes(), shard)


def shards_in(folder: Path) -> list[str]:
    """Returns the keys of all catalogues, without that of the zero-row partitions."""
    names = (name.removesuffix(".json") for name in names_in(folder / CATALOGUE_FOLDER))
    # Those that are being written, and the folder of the retired ones, have other names.
    return sorted(name for name in names if "." not in name and name not in (EMPTY_SHARD, RETIRED))


def catalogues(
    folder: Path, table_names: Collection[str], shards: Collection[str] | None = None
) -> Iterator[Catalogue]:
    """Yields the catalogues that may have partitions of these tables, by shard.

    Args:
        shards: Only those of these shards, and of all; by default of all that there are.
    """
    schemas = list(map(table_schema, table_names))
    keys = shards_in(folder) if shards is None else sorted(shards)
    if all(schema.is_cross_shard for schema in schemas):
        keys = [ALL]
    elif any(schema.is_cross_shard for schema in schemas):
        keys = sorted({*keys, ALL})
    else:
        keys = [key for key in keys if key != ALL]
    return (read_catalogue(folder, key) for key in keys)


def path_of(folder: Path, entry: Entry, shard: str) -> Path | None:
    """Returns where the file of a partition lies; None where it has no rows."""
    return None if entry.file is None else folder / file_path(entry.table, shard, entry.file)


def list_partitions(folder: Path, table: str, shard: str | None = None) -> list[PartitionInfo]:
    """Lists the partitions of a table by shard and name, without the zero-row one.

    Raises:
        DamagedPartitionError: A catalogue is not what was written.
    """
    if shard is not None:
        partition_folder(folder, table, shard, ALL)
    return [
        PartitionInfo(
            table,
            each.shard,
            entry.name,
            path_of(folder, entry, each.shard),
            entry.size,
            entry.seal,
        )
        for each in catalogues(folder, [table], None if shard is None else [shard])
        for entry in each.entries(table)
    ]


def empty_partition_path(folder: Path, table: str) -> Path | None:
    """Returns the path of a table's zero-row partition; None where it has none that is sound."""
    try:
        entry = read_catalogue(folder, EMPTY_SHARD).entry(table, EMPTY)
    except DamagedPartitionError:
        return None
    path = entry and path_of(folder, entry, EMPTY_SHARD)
    return path if path is not None and path.exists() and not is_damaged(path) else None


def files_of(folder: Path, table: str) -> list[Path]:
    """Returns the files of a table's partitions, that without rows first."""
    paths = (info.path for info in list_partitions(folder, table))
    return [path for path in (empty_partition_path(folder, table), *paths) if path is not None]


def damaged_partitions(
    folder: Path, table_names: Iterable[str] | None = None, *, is_copy: bool = False
) -> list[Path]:
    """Returns the files whose bytes are not those that were written, by path.

    Args:
        table_names: Of these tables; by default of all.
        is_copy: Whether files may be missing, since they are fetched when they are read.

    Raises:
        DamagedPartitionError: A catalogue is not what was written.
    """
    names = tables() if table_names is None else table_names
    paths = [path for table in names for path in files_of(folder, table)]
    return sorted(path for path in paths if is_damaged(path) or not (is_copy or path.exists()))
