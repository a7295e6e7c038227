"""Chooses the partitions that a statement reads and opens views over them."""

import functools
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from warehouse.catalogue import Catalogue, Entry, read_catalogue, shards_of
from warehouse.connection import confine, open_connection
from warehouse.counting import COUNTS, counts_version, with_new_counts
from warehouse.damage import verify
from warehouse.errors import DamagedPartitionError, PartitionsChangingError, QueryError
from warehouse.labels import REMEDY, read_labels
from warehouse.needs import LABELS, Needs
from warehouse.relations import create_label_lines, create_published, create_views, file_list_source
from warehouse.schema import table_schema

if TYPE_CHECKING:
    import duckdb

_T = TypeVar("_T")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """A published partition; `path` is None if it has no rows and thus no file."""

    table: str
    shard: str
    name: str
    path: Path | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Files:
    """Snapshot of the partitions that a statement reads.

    Attributes:
        rows: Shard and entry of each partition with rows to read, by table.
        published: Shard and entry of each partition whose counts or metadata are read.
    """

    rows: Mapping[str, Sequence[tuple[str, Entry]]]
    published: Sequence[tuple[str, Entry]] = ()

    def sources(self, folder: Path) -> dict[str, str]:
        return {
            table: file_list_source(
                table_schema(table), [f"{folder}/{entry.path(shard)}" for shard, entry in entries]
            )
            for table, entries in self.rows.items()
        }


@dataclass(frozen=True, slots=True)
class Reader:
    """Chooses the partitions that statements read.

    Attributes:
        folder: Folder of the warehouse.
        catalogue: Returns the catalogue of a shard.
        shards: Limits tables that are cut by shard; None reads all shards.
        skips_damaged: Whether damaged and missing files are logged and skipped, not raised.
    """

    folder: Path
    catalogue: Callable[[str], Catalogue]
    shards: Collection[str] | None = None
    skips_damaged: bool = False

    def choose(self, needs: Needs) -> Files:
        rows: dict[str, list[tuple[str, Entry]]] = {table: [] for table in sorted(needs.rows)}
        published: list[tuple[str, Entry]] = []
        for catalogue in self.catalogues(needs.tables):
            for (table, _), entry in catalogue.partitions.items():
                if entry.rows and table in needs.rows:
                    rows[table].append((catalogue.shard, entry))
            published += self._published(catalogue, needs)
        return Files(rows, published)

    def published(self, needs: Needs) -> Iterator[tuple[str, Entry]]:
        """Yield the `published` entries of `choose`, with one catalogue in memory at a time."""
        for catalogue in self.catalogues(needs.published):
            yield from self._published(catalogue, needs)

    def _published(self, catalogue: Catalogue, needs: Needs) -> Iterator[tuple[str, Entry]]:
        shard = catalogue.shard
        version = None if needs.views.isdisjoint(COUNTS) else counts_version()
        for (table, _), entry in catalogue.partitions.items():
            if table not in needs.published:
                continue
            if version in (None, entry.counted_by):
                yield shard, entry
            elif now := self._unless_damaged(with_new_counts, self.folder, shard, entry):
                yield shard, now

    def catalogues(self, table_names: Collection[str]) -> Iterator[Catalogue]:
        for shard in shards_of(self.folder, table_names, self.shards):
            if found := self._unless_damaged(self.catalogue, shard):
                yield found

    def verified(self, files: Files) -> Files:
        """Compare files with their digests and return those that were not skipped as damaged."""
        intact = {
            table: [each for each in entries if self._unless_damaged(self._verified, *each)]
            for table, entries in files.rows.items()
        }
        return Files(intact, files.published)

    def _verified(self, shard: str, entry: Entry) -> Entry:
        try:
            verify(self.folder, shard, entry)
        except DamagedPartitionError as error:
            # A snapshot may be older than the grace period of superseded files.
            newest = read_catalogue(self.folder, shard).partitions.get((entry.table, entry.name))
            if newest is None or newest.version != entry.version:
                raise changing() from error
            raise
        return entry

    def are_gone(self, files: Files) -> bool:
        paths = (entry.path(shard) for entries in files.rows.values() for shard, entry in entries)
        return not all((self.folder / str(path)).exists() for path in paths)

    def _unless_damaged(self, read: Callable[..., _T], *arguments: Any) -> _T | None:
        try:
            return read(*arguments)
        except DamagedPartitionError as error:
            if not self.skips_damaged:
                raise
            _log_once(f"{error} Its rows are left out.")
            return None

    @contextmanager
    def open_views(self, needs: Needs, files: Files) -> Iterator["duckdb.DuckDBPyConnection"]:
        """Open a connection with views over the files, confined to the warehouse."""
        with open_connection() as connection:
            create_published(connection, needs, files.published)
            if LABELS in needs.views:
                lines, damage = read_labels(self.folder)
                if damage:
                    _log_once(f"{damage} {REMEDY}.")
                create_label_lines(connection, lines)
            create_views(connection, needs, files.sources(self.folder))
            confine(connection, self.folder)
            yield connection


@functools.cache
def _log_once(text: str) -> None:
    _LOGGER.warning("%s", text)


def changing() -> PartitionsChangingError:
    return PartitionsChangingError(
        "Partitions were replaced while their rows were read: a build is running. Run the same "
        "command again, or wait for the end of the build."
    )


def refused(error: Exception) -> QueryError:
    return QueryError(f"DuckDB refused the query: {error}\nCorrect the statement and run it again.")
