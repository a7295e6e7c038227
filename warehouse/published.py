"""What is published, as the catalogues in the folder of a warehouse say."""

import functools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from warehouse.catalogue import Catalogue, Entry, file_path, parsed
from warehouse.layout import (
    CATALOGUE_FOLDER,
    EMPTY_SHARD,
    RETIRED,
    catalogue_file,
    is_damaged,
    names_in,
)
from warehouse.schema import ALL, table_schema, tables

# A stage asks several times for the partitions of a shard.
_REMEMBERED, _REMEMBERED_NUMBERS = 64, 1 << 17


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition.

    Attributes:
        path: of its file; None where it has no rows.
    """

    table: str
    shard: str
    name: str
    path: Path | None
    bytes: int


def read_catalogue(folder: Path, shard: str) -> Catalogue:
    """Returns the catalogue of a shard of the corpus, an empty one where there is none.

    Raises:
        DamagedPartitionError: It is not what was written.
    """
    path = catalogue_file(folder, shard)
    try:
        return _parsed(path, shard, *_state(path))
    except FileNotFoundError:
        return Catalogue(shard)


def number_in(path: Path, shard: str) -> int:
    """Returns the number of a catalogue by its file, 0 where there is none; see `read_catalogue`.

    It is remembered of all: with an object store it is compared of each before anything is read.
    """
    try:
        return _number(path, shard, *_state(path))
    except FileNotFoundError:
        return 0


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=_REMEMBERED_NUMBERS)
def _number(path: Path, shard: str, *state: int) -> int:
    return _parsed(path, shard, *state).number


@functools.lru_cache(maxsize=_REMEMBERED)
def _parsed(path: Path, shard: str, *_state: int) -> Catalogue:
    return parsed(path.read_bytes(), shard)


def shards_in(folder: Path) -> list[str]:
    """Returns the keys of all catalogues."""
    names = (name.removesuffix(".json") for name in names_in(folder / CATALOGUE_FOLDER))
    # Those that are being written, and the folder of the retired ones, have other names.
    return sorted(name for name in names if "." not in name and name not in (EMPTY_SHARD, RETIRED))


def retired_in(folder: Path) -> set[str]:
    """Returns the keys of the shards that were taken out of the corpus."""
    names = names_in(folder / CATALOGUE_FOLDER / RETIRED)
    return {name.removesuffix(".json") for name in names if name.endswith(".json")}


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


def list_partitions(
    folder: Path, table_names: Collection[str], of: Iterable[Catalogue] | None = None
) -> list[PartitionInfo]:
    """Lists the partitions of tables by table, shard and name.

    Args:
        of: Only what these say; by default all catalogues, of which each is read once.

    Raises:
        DamagedPartitionError: A catalogue is not what was written.
    """
    found = (
        PartitionInfo(
            entry.table, each.shard, entry.name, path_of(folder, entry, each.shard), entry.size
        )
        for each in (catalogues(folder, table_names) if of is None else of)
        for entry in each.entries(table_names)
    )
    return sorted(found, key=attrgetter("table"))


def files_of(
    folder: Path, table_names: Collection[str], shards: Collection[str] | None = None
) -> list[Path]:
    """Returns the files of the partitions of tables.

    Args:
        shards: See `catalogues`.
    """
    found = list_partitions(folder, table_names, catalogues(folder, table_names, shards))
    return [info.path for info in found if info.path is not None]


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
    paths = files_of(folder, list(tables()) if table_names is None else list(table_names))
    return sorted(path for path in paths if is_damaged(path) or not (is_copy or path.exists()))
