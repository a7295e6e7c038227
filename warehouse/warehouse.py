"""The warehouse as the rest of the project sees it: one object over one folder.

Nothing is held open between calls, so any number of processes may use the same folder.
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

from toolformer.base.whole_files import remove_abandoned
from warehouse import partitions, relations
from warehouse.catalogue import Entry, Key, read_catalogue, retired_in, shards_in, shards_of
from warehouse.comparison import Comparison, compare_readers
from warehouse.connection import sql_name
from warehouse.damage import problem_of, refuse_known
from warehouse.errors import DamagedPartitionError
from warehouse.labels import labels_file
from warehouse.layout import EMPTY_SHARD, catalogue_file, check_layout, record_layout, split_round
from warehouse.needs import needs_of
from warehouse.publishing import Locks, Publisher, locks_in
from warehouse.query import counts_at_once, frame_of, run_query, stream_query
from warehouse.reading import PartitionInfo, Reader
from warehouse.schema import sql_texts, table_schema, tables

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

# A plan goes from shard to shard.
_REMEMBERED_BY_SNAPSHOT = 16


class Warehouse:
    """DuckDB over one Parquet file per partition. Until it is prepared, reading writes nothing.

    Args:
        database_file: DuckDB file with the same views, for people and their tools.
        locks: Give the locks under which catalogues change; by default files beside the folder.

    Raises:
        LayoutError: The warehouse was written with another layout.
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
        found = Warehouse(self.folder, self.database_file, self._locks)
        found.reader = reader
        return found

    def limited_to(self, shards: Collection[str]) -> "Warehouse":
        """Return the same warehouse, of which only the partitions of some shards are queried."""
        return self._with_reader(replace(self.reader, shards=shards))

    def skipping_damage(self) -> "Warehouse":
        """Return the same warehouse, whose queries log damaged partitions and leave them out."""
        return self._with_reader(replace(self.reader, skips_damaged=True))

    def snapshot(self, *, is_bounded: bool = False) -> "Warehouse":
        """Return the warehouse with its shards of now, each as it is when it is first asked for.

        Superseded files stay for ten minutes, so queries fail if they begin later.

        Args:
            is_bounded: Whether only the last shards are remembered, for whoever goes from shard to
                shard.
        """
        size = _REMEMBERED_BY_SNAPSHOT if is_bounded else None
        catalogue = functools.lru_cache(maxsize=size)(self.reader.catalogue)
        shards = self.reader.shards
        shards = shards_in(self.folder) if shards is None else shards
        return self._with_reader(replace(self.reader, catalogue=catalogue, shards=shards))

    @contextmanager
    def with_counts(self) -> Iterator["Warehouse"]:
        """Give the same warehouse with counts that are read once, for many statements."""
        found = self._with_reader(self.reader)
        with counts_at_once(found.reader) as ask:
            found._of_counts = ask
            yield found

    def prepare(self) -> None:
        """Make the warehouse ready for readers; does nothing if it is already.

        Write the files without rows, remove what killed writers of the database left behind, and
        write the database file again if a view or the folder has changed.

        Raises:
            LayoutError: The warehouse was written with another layout.
            StorageError: The disk refused a write.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.database_file.parent.glob(f"{glob.escape(self.database_file.name)}.*.tmp*")
        remove_abandoned(beside)
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
        """Replace one partition; see `replace_partitions`. Return the number of rows."""
        self.replace_partitions({(table, partition_name): (frame, {shard: metadata})})
        return frame.height

    def replace_partitions(
        self, made: Mapping[Key, tuple["pl.DataFrame", Mapping[str, Mapping[str, str]]]]
    ) -> None:
        """Replace partitions by the rows of frames: of each shard all at once.

        Args:
            made: By table and name the rows of some shards, in the order they are to have (columns
                are matched by name), and by shard facts kept beside them, such as the fingerprint.
                Of a table that is not cut by shard the shard is `all`.

        Raises:
            UnknownTableError: There is no such table.
            PartitionValidationError: A row breaks a constraint, or a shard or a name cannot be part
                of a path; the old partitions are untouched.
            LayoutError: The warehouse was written with another layout.
            StorageError: The disk refused the write; the old partitions are untouched.
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
        """Return the metadata written with a partition.

        None without a partition, and if it, one published with it, or the catalogue of its shard is
        damaged or missing: then it is made again.
        """
        try:
            version = self.partition_version(table, shard, partition_name)
        except DamagedPartitionError:
            return None
        return None if version is None else version[1]

    def partition_version(
        self, table: str, shard: str, partition_name: str
    ) -> tuple[str, dict[str, str]] | None:
        """Return the version of a partition and its metadata.

        None without a partition, and if its file, or one published with it, is missing.

        Raises:
            DamagedPartitionError: This process has found its file damaged, or its catalogue is.
        """
        catalogue = self.reader.catalogue(shard)
        entry = catalogue.partitions.get((table, partition_name))
        if entry is None or not all(
            self._is_there(each, shard) for each in catalogue.published_with(entry)
        ):
            return None
        return entry.version, entry.facts

    def _is_there(self, entry: Entry, shard: str) -> bool:
        # Asked for each partition of each plan: paths as objects take twice the time.
        path = f"{self.folder}/{entry.path(shard)}" if entry.rows else str(self.folder)
        if os.path.exists(path):  # noqa: PTH110
            return True
        refuse_known(path)
        return False

    def read_partition(self, table: str, shard: str, partition_name: str) -> "pl.DataFrame":
        """Return the rows of one partition in the order they were written.

        Raises:
            PartitionNotFoundError: The partition does not exist.
            DamagedPartitionError: Its file, or the catalogue, is damaged or missing.
        """
        catalogue = self.reader.catalogue(shard)
        return partitions.read_partition(self.folder, catalogue, table, partition_name)

    def read_partitions(
        self, table: str, shard: str, *, round_number: int | None = None
    ) -> "pl.DataFrame":
        """Return the rows of all partitions of one shard by name, or of one sampling round.

        Raises:
            DamagedPartitionError: A file, or the catalogue, is damaged or missing.
        """
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
        """Yield shard and entry of the partitions of tables, by shard, table and name.

        Raises:
            DamagedPartitionError: A catalogue is damaged.
        """
        reader = self.reader if shard is None else replace(self.reader, shards={shard})
        for catalogue in reader.catalogues(table_names):
            for entry in catalogue.entries(table_names):
                yield catalogue.shard, entry

    def partitions(self, table: str | None = None, shard: str | None = None) -> list[PartitionInfo]:
        """List the partitions of a table, of one shard or of all, by table, shard and name.

        Raises:
            UnknownTableError: There is no such table.
            DamagedPartitionError: A catalogue is damaged.
        """
        names = list(tables()) if table is None else [table_schema(table).name]
        found = [
            PartitionInfo(entry.table, key, entry.name, self._path(key, entry), entry.size)
            for key, entry in self.entries(names, shard)
        ]
        return sorted(found, key=attrgetter("table"))

    def _path(self, shard: str, entry: Entry) -> Path | None:
        below = entry.path(shard)
        return None if below is None else self.folder / below

    def files(self, table: str) -> list[Path]:
        """List the files that hold a table's rows now, for programs that read Parquet themselves.

        Beside them lie superseded files, for queries that began with those. Of an empty table it is
        the file without rows, if the warehouse was prepared: it has the columns.

        Raises:
            UnknownTableError: There is no such table.
        """
        paths = (info.path for info in self.partitions(table))
        files = [path for path in paths if path]
        return files or list(self.folder.glob(f"{table}/shard={EMPTY_SHARD}/*.parquet"))

    def shards_with(self, table_names: Collection[str]) -> set[str]:
        """Return the shards that have whole partitions of all these tables."""
        found = set()
        for catalogue in replace(self.reader, skips_damaged=True).catalogues(table_names):
            entries = list(catalogue.entries(table_names))
            with suppress(DamagedPartitionError):
                are_there = all(self._is_there(entry, catalogue.shard) for entry in entries)
                if are_there and {entry.table for entry in entries}.issuperset(table_names):
                    found.add(catalogue.shard)
        return found

    def retired(self) -> set[str]:
        """Return the shards that were taken out of the corpus."""
        return retired_in(self.folder)

    def retire(self, shard: str) -> None:
        """Take the partitions of a shard out of the corpus; see `Publisher.retire`."""
        self._publisher.retire(shard)

    def restore(self, shard: str) -> None:
        """Take the partitions of a retired shard into the corpus again."""
        self._publisher.restore(shard)

    def sweep(self, shards: Collection[str]) -> None:
        """Remove files that nobody reads any more; see `Publisher.sweep`."""
        self._publisher.sweep(shards)

    def partition_names(self, table: str, shard: str, *, round_number: int) -> list[str]:
        """List the names of a shard's partitions of one sampling round, without the round."""
        named = [split_round(info.name) for info in self.partitions(table, shard)]
        return [name for number, name in named if number == round_number]

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        shards: Collection[str] | None = None,
        is_compared: bool = True,
    ) -> "pl.DataFrame":
        """Run one select statement over the tables and statistics views; see `run_query`.

        By default it reads the shards of `limited_to`, else all.
        """
        if self._of_counts and shards is None and needs_of(sql).are_counts:
            return self._of_counts(sql, parameters or {})
        reader = self.reader if shards is None else replace(self.reader, shards=shards)
        return run_query(reader, sql, frame_of, parameters, is_compared=is_compared)

    def fetch_rows(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return columns and rows of a person's statement, as Python values; see `run_query`.

        Frames take long to load.
        """
        return run_query(self.reader, sql, lambda found: (found.columns, found.fetchall()))

    def view(self, name: str, *, round_number: int | None = None) -> "pl.DataFrame":
        """Return the rows of a statistics view in its own order."""
        if round_number is None:
            return self.query(f"select * from {sql_name(name)}")
        statement = f"select * exclude (round) from {sql_name(name)} where round = $round"
        return self.query(statement, {"round": round_number})

    def ask(
        self,
        name: str,
        *,
        shards: Collection[str] | None = None,
        is_compared: bool = True,
        **values: object,
    ) -> "pl.DataFrame":
        """Return the rows of a query of the project; see `query`."""
        sql = sql_texts("queries")[name]
        return self.query(sql, values, shards=shards, is_compared=is_compared)

    def best_examples(self, of: Iterable[tuple[int, str]], *, per_tool: int) -> "pl.DataFrame":
        """Return the kept calls that help most in their texts: see `kept_calls_in_text.sql`.

        Of a tool with a contrast threshold each of them also helps more than with another call's
        result, and by how much decides which come first.

        Args:
            per_tool: At most so many of each tool and round, and at most ten.
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
        """Compare the kept calls of a round with those of another warehouse, or round.

        Raises:
            ComparisonError: A round has no decided calls, or no text of a kept call is in both.
            DamagedPartitionError, LayoutError, PartitionsChangingError: As of `query`.
        """
        return compare_readers((self.reader, other.reader), rounds)

    def stream(self, name: str, **values: object) -> AbstractContextManager["pa.RecordBatchReader"]:
        """Give the rows of a query of the project batch by batch; see `stream_query`."""
        return stream_query(self.reader, sql_texts("queries")[name], values)

    def damage(self, table_names: Iterable[str] | None = None) -> dict[Path, str]:
        """Return what is wrong with files and catalogues, by path.

        Args:
            table_names: Files of these tables are compared with their digests; by default of all.
        """
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
                if path and (problem := problem_of(path, entry)):
                    found[path] = problem
        return found
