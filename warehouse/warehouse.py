"""The interface of this package: a `Warehouse` reads and writes the partitions in one folder.

It keeps no file open between calls, so any number of processes may use the same folder.
"""

import functools
import glob
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.base.atomic_files import remove_abandoned
from warehouse import partitions, relations
from warehouse.catalogue import Entry, Key, read_catalogue, retired_in, shards_in, shards_of
from warehouse.comparison import Comparison, compare_readers
from warehouse.connection import sql_name
from warehouse.damage import find_problem, raise_if_found_damaged
from warehouse.errors import DamagedPartitionError
from warehouse.labels import labels_file
from warehouse.layout import EMPTY_SHARD, catalogue_file, check_layout, record_layout, split_round
from warehouse.needs import needs_of
from warehouse.publishing import Locks, Publisher, locks_in
from warehouse.query import frame_of, preloaded_counts, run_query, stream_query
from warehouse.reading import PartitionInfo, Reader
from warehouse.schema import sql_texts, table_schema, tables

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_CATALOGUES_OF_BOUNDED_SNAPSHOT = 16


class Warehouse:
    """One Parquet file per partition, queried with DuckDB.

    Methods that read raise DamagedPartitionError if a file or catalogue is damaged, and
    UnknownTableError for unknown tables. Methods that write raise StorageError if the disk refuses.
    The constructor raises LayoutError for a warehouse with other columns or file names.

    Args:
        database_file: DuckDB file with the same views, for people and their tools.
        locks: Returns the lock that guards a catalogue; by default a lock file in `../locks`.
    """

    def __init__(self, folder: Path, database_file: Path, locks: Locks | None = None):
        self.folder = folder.absolute()
        self.database_file = database_file.absolute()
        check_layout(self.folder)
        self._locks = locks or locks_in(self.folder.parent / "locks")
        self._publisher = Publisher(self.folder, self._locks)
        self.reader = Reader(self.folder, functools.partial(read_catalogue, self.folder))
        self._of_counts: Callable[[str, Mapping[str, object]], pl.DataFrame] | None = None

    def _with_reader(self, reader: Reader) -> "Warehouse":
        warehouse = Warehouse(self.folder, self.database_file, self._locks)
        warehouse.reader = reader
        return warehouse

    def limited_to(self, shards: Collection[str]) -> "Warehouse":
        return self._with_reader(replace(self.reader, shards=shards))

    def skipping_damage(self) -> "Warehouse":
        """Return the same warehouse with queries that log damaged partitions and skip them."""
        return self._with_reader(replace(self.reader, skips_damaged=True))

    def snapshot(self, *, has_bounded_cache: bool = False) -> "Warehouse":
        """Return the warehouse limited to its current shards, each frozen when first read.

        Queries more than ten minutes later may fail, since superseded files are removed by then.
        `has_bounded_cache` keeps only the last 16 catalogues, for callers that go shard by shard.
        """
        size = _CATALOGUES_OF_BOUNDED_SNAPSHOT if has_bounded_cache else None
        catalogue = functools.lru_cache(maxsize=size)(self.reader.catalogue)
        shards = self.reader.shards
        shards = shards_in(self.folder) if shards is None else shards
        return self._with_reader(replace(self.reader, catalogue=catalogue, shards=shards))

    @contextmanager
    def with_counts(self) -> Iterator["Warehouse"]:
        """Yield the same warehouse with all counts read once, for many statements."""
        warehouse = self._with_reader(self.reader)
        with preloaded_counts(warehouse.reader) as ask:
            warehouse._of_counts = ask
            yield warehouse

    def prepare(self) -> None:
        """Create what readers need: empty files and an up-to-date database file. Idempotent."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pattern = f"{glob.escape(self.database_file.name)}.*.tmp*"
        remove_abandoned(self.database_file.parent.glob(pattern))
        record_layout(self.folder)
        is_current = relations.is_current(self.folder, self.database_file)
        partitions.write_empty_files(self.folder, is_renewed=not is_current)
        if not labels_file(self.folder).exists():
            labels_file(self.folder).touch()
        if not is_current:
            self._publisher.recount()
            relations.write_database(self.folder, self.database_file)

    def replace_partition(
        self,
        table: str,
        shard: str,
        partition_name: str,
        frame: "pl.DataFrame",
        *,
        metadata: Mapping[str, str],
    ) -> int:
        self.replace_partitions({(table, partition_name): (frame, {shard: metadata})})
        return frame.height

    def replace_partitions(
        self, made: Mapping[Key, tuple["pl.DataFrame", Mapping[str, Mapping[str, str]]]]
    ) -> None:
        """Replace partitions with the rows of frames, atomically per shard.

        `made` maps table and partition name to rows and metadata. A frame has the rows of one or
        more shards in the order to store; columns are matched by name. Metadata is given by shard
        (`all` if the table is not cut by shard). If a row breaks a constraint,
        PartitionValidationError is raised and nothing is replaced.
        """
        record_layout(self.folder)
        version = secrets.token_hex(8)
        entries: dict[str, list[Entry]] = {}
        for (table, name), (frame, metadata) in made.items():
            written = partitions.write_rows(
                self.folder, table, name, frame, metadata, version=version
            )
            for shard, entry in written.items():
                entries.setdefault(shard, []).append(entry)
        self._publisher.publish(entries)

    def partition_metadata(
        self, table: str, shard: str, partition_name: str
    ) -> dict[str, str] | None:
        """Return a partition's metadata; None if `partition_version` returns None or raises."""
        try:
            version = self.partition_version(table, shard, partition_name)
        except DamagedPartitionError:
            return None
        return None if version is None else version[1]

    def partition_version(
        self, table: str, shard: str, partition_name: str
    ) -> tuple[str, dict[str, str]] | None:
        """Return version and metadata of a partition.

        None if the partition does not exist, or if any file of its publication is missing.
        """
        catalogue = self.reader.catalogue(shard)
        entry = catalogue.partitions.get((table, partition_name))
        if entry is None or not all(
            self._has_file(each, shard) for each in catalogue.published_with(entry)
        ):
            return None
        return entry.version, entry.facts

    def _has_file(self, entry: Entry, shard: str) -> bool:
        # A plan checks every partition, and `Path` objects take twice the time of strings.
        path = f"{self.folder}/{entry.path(shard)}" if entry.rows else str(self.folder)
        if os.path.exists(path):  # noqa: PTH110
            return True
        raise_if_found_damaged(path)
        return False

    def read_partition(self, table: str, shard: str, partition_name: str) -> "pl.DataFrame":
        """Return the rows of a partition in stored order; raise PartitionNotFoundError."""
        catalogue = self.reader.catalogue(shard)
        return partitions.read_partition(self.folder, catalogue, table, partition_name)

    def read_partitions(
        self, table: str, shard: str, *, round_number: int | None = None
    ) -> "pl.DataFrame":
        import polars as pl

        catalogue = self.reader.catalogue(shard)
        frames = [
            partitions.read_partition(self.folder, catalogue, table, entry.name)
            for entry in catalogue.entries([table])
            if round_number in (None, split_round(entry.name)[0])
        ]
        return pl.concat(frames or [table_schema(table).polars_schema.to_frame()])

    def entries(
        self, table_names: Collection[str], shard: str | None = None
    ) -> Iterator[tuple[str, Entry]]:
        """Yield shard and entry of the partitions of tables, sorted by shard, table and name."""
        reader = self.reader if shard is None else replace(self.reader, shards={shard})
        for catalogue in reader.catalogues(table_names):
            for entry in catalogue.entries(table_names):
                yield catalogue.shard, entry

    def partitions(self, table: str | None = None, shard: str | None = None) -> list[PartitionInfo]:
        """List partitions, by default of all tables and shards, sorted by table, shard and name."""
        names = list(tables()) if table is None else [table_schema(table).name]
        found = [
            PartitionInfo(entry.table, key, entry.name, self._path(key, entry), entry.size)
            for key, entry in self.entries(names, shard)
        ]
        return sorted(found, key=attrgetter("table"))

    def _path(self, shard: str, entry: Entry) -> Path | None:
        relative = entry.path(shard)
        return None if relative is None else self.folder / relative

    def files(self, table: str) -> list[Path]:
        """List the files of a table's current rows, for programs that read Parquet themselves.

        The same folders also contain superseded files, for queries that still read them. If the
        table has no rows, the list has one file with its columns, once the warehouse is prepared.
        """
        paths = (info.path for info in self.partitions(table))
        files = [path for path in paths if path]
        return files or list(self.folder.glob(f"{table}/shard={EMPTY_SHARD}/*.parquet"))

    def shards_with(self, table_names: Collection[str]) -> set[str]:
        """Return the shards that have partitions of all these tables, with no file missing."""
        found = set()
        for catalogue in replace(self.reader, skips_damaged=True).catalogues(table_names):
            entries = list(catalogue.entries(table_names))
            with suppress(DamagedPartitionError):
                is_whole = all(self._has_file(entry, catalogue.shard) for entry in entries)
                if is_whole and {entry.table for entry in entries}.issuperset(table_names):
                    found.add(catalogue.shard)
        return found

    def retired(self) -> set[str]:
        return retired_in(self.folder)

    def retire(self, shard: str) -> None:
        """Remove the partitions of a shard from the corpus without deleting files."""
        self._publisher.retire(shard)

    def restore(self, shard: str) -> None:
        self._publisher.restore(shard)

    def sweep(self, shards: Collection[str]) -> None:
        self._publisher.sweep(shards)

    def partition_names(self, table: str, shard: str, *, round_number: int) -> list[str]:
        """List a shard's partitions of an annotation round, without the prefix `round-<n>.`."""
        split = [split_round(info.name) for info in self.partitions(table, shard)]
        return [name for number, name in split if number == round_number]

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        shards: Collection[str] | None = None,
        verifies_digests: bool = True,
    ) -> "pl.DataFrame":
        """Run one select statement; see `run_query`. `shards` replaces the limit of this object."""
        if self._of_counts and shards is None and needs_of(sql).is_counts_only:
            return self._of_counts(sql, parameters or {})
        reader = self.reader if shards is None else replace(self.reader, shards=shards)
        return run_query(reader, sql, frame_of, parameters, verifies_digests=verifies_digests)

    def fetch_rows(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a user's statement and return column names and rows without loading Polars."""
        return run_query(self.reader, sql, lambda found: (found.columns, found.fetchall()))

    def view(self, name: str, *, round_number: int | None = None) -> "pl.DataFrame":
        if round_number is None:
            return self.query(f"select * from {sql_name(name)}")
        statement = f"select * exclude (round) from {sql_name(name)} where round = $round"
        return self.query(statement, {"round": round_number})

    def ask(
        self,
        name: str,
        *,
        shards: Collection[str] | None = None,
        verifies_digests: bool = True,
        **values: object,
    ) -> "pl.DataFrame":
        """Run the statement in `queries/<name>.sql` with `values` as parameters; see `query`."""
        sql = sql_texts("queries")[name]
        return self.query(sql, values, shards=shards, verifies_digests=verifies_digests)

    def best_examples(self, of: Iterable[tuple[int, str]], *, per_tool: int) -> "pl.DataFrame":
        """Return the most helpful kept calls per pair of round and tool, at most ten each.

        Calls are ranked by the smaller of loss reduction and contrast. Columns are those of
        `kept_calls_in_text.sql`.
        """
        pairs = list(of)
        best = self.ask(
            "best_kept_calls",
            per_tool=per_tool,
            rounds=[number for number, _ in pairs],
            tools=[tool for _, tool in pairs],
        )
        return self.ask(
            "kept_calls_in_text",
            shards=frozenset(best["shard"]),
            call_ids=best["call_id"].to_list(),
        )

    def compare(self, other: "Warehouse", rounds: tuple[int, int] = (1, 1)) -> Comparison:
        return compare_readers((self.reader, other.reader), rounds)

    def stream(self, name: str, **values: object) -> AbstractContextManager["pa.RecordBatchReader"]:
        return stream_query(self.reader, sql_texts("queries")[name], values)

    def damage(self, table_names: Iterable[str] | None = None) -> dict[Path, str]:
        """Check catalogues and files of tables, by default of all; return problems by path."""
        names = list(tables() if table_names is None else table_names)
        found: dict[Path, str] = {}
        for shard in shards_of(self.folder, names):
            try:
                catalogue = read_catalogue(self.folder, shard)
            except DamagedPartitionError as error:
                found[Path(catalogue_file(self.folder, shard))] = str(error)
                continue
            for entry in catalogue.entries(names):
                path = self._path(shard, entry)
                if path and (problem := find_problem(path, entry)):
                    found[path] = problem
        return found
