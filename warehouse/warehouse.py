"""The warehouse as the rest of the project sees it: one object over one folder.

Nothing is held open between calls, so any number of processes may use the same folder.
"""

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.base.whole_files import remove_abandoned
from warehouse import partitions, published, relations
from warehouse.catalogue import Catalogue, Entry, Key
from warehouse.comparison import TABLES, Comparison, compare_folders
from warehouse.connection import sql_name
from warehouse.labels import labels_file
from warehouse.layout import EMPTY_SHARD, LAYOUT_FILE, check_layout, split_round
from warehouse.needs import needs_of, of_counts
from warehouse.published import PartitionInfo, list_partitions, read_catalogue
from warehouse.query import counts_at_once, frame_of, run_query, stream_query
from warehouse.schema import sql_texts, table_schema, tables
from warehouse.store.partition_store import PartitionStore

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


class Warehouse:
    """DuckDB over one Parquet file per partition. Until it is prepared, reading writes nothing.

    Args:
        database_file: DuckDB file with the same views, for people and their tools.
        store: Where partitions are published; by default in the folder.
        shards: Only the partitions of these are queried, or their files listed, of tables that are
            cut by shard; by default all.

    Attributes:
        store: The same; it knows the shards, and takes some out.

    Raises:
        LayoutError: The warehouse was written with another layout.
    """

    def __init__(
        self,
        folder: Path,
        database_file: Path,
        store: PartitionStore | None = None,
        *,
        shards: Collection[str] | None = None,
    ):
        self.folder = folder.absolute()
        self.database_file = database_file.absolute()
        check_layout(self.folder)
        self.store = store or PartitionStore(self.folder)
        self._shards = shards
        self._catalogue: Callable[[str], Catalogue] = partial(read_catalogue, self.folder)
        self._of_counts: Callable[[str, Mapping[str, object]], pl.DataFrame] | None = None

    def limited_to(self, shards: Collection[str]) -> "Warehouse":
        """Returns the same warehouse, of which only the partitions of some shards are queried."""
        return Warehouse(self.folder, self.database_file, self.store, shards=shards)

    def as_it_is(self) -> "Warehouse":
        """Returns the warehouse as it is published now, which is not asked of a store again."""
        self.store.fetch(tables(), self._shards, with_rows=False)
        store = PartitionStore(self.folder, is_copy=self.store.is_copy)
        found = Warehouse(self.folder, self.database_file, store, shards=self._shards)
        # Whoever asks goes from shard to shard.
        found._catalogue = lru_cache(maxsize=16)(found._catalogue)
        return found

    @contextmanager
    def with_counts(self) -> Iterator["Warehouse"]:
        """Gives the same warehouse, whose counts are those of this moment, and read once."""
        self.store.fetch(of_counts().published, self._shards, with_rows=False)
        with counts_at_once(self.folder, self._shards) as ask:
            found = Warehouse(self.folder, self.database_file, self.store, shards=self._shards)
            found._of_counts = ask
            yield found

    def prepare(self) -> None:
        """Makes the warehouse ready for readers; does nothing where it is already.

        Writes the files without rows, removes what killed writers of the database left behind, and
        writes the database file anew when a view or the folder has changed. With an object store,
        partitions are fetched when they are read.

        Raises:
            LayoutError: The warehouse was written with another layout.
            StorageError: The disk refused a write.
            DamagedPartitionError: The database file is out of date and a partition cannot be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.database_file.parent.glob(f"{glob.escape(self.database_file.name)}.*.tmp*")
        remove_abandoned(beside)
        self.store.record_layout()
        partitions.write_empty_files(self.folder)
        if not labels_file(self.folder).exists():
            labels_file(self.folder).touch()
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
        """Replaces one partition; see `replace_partitions`. Returns the number of rows."""
        self.replace_partitions({(table, partition_name): (frame, {shard: metadata})})
        return frame.height

    def replace_partitions(
        self, made: Mapping[Key, tuple["pl.DataFrame", Mapping[str, Mapping[str, str]]]]
    ) -> None:
        """Replaces partitions by the rows of frames: of each shard all at once.

        Args:
            made: By table and name the rows of some shards, in the order they are to have (columns
                are matched by name), and by shard facts kept beside them, such as the fingerprint.
                Of a table that is not cut by shard the shard is `all`.

        Raises:
            UnknownTableError: There is no such table.
            PartitionNameError: A shard or a name cannot be part of a path.
            PartitionValidationError: A row breaks a constraint; the old partitions are untouched.
            LayoutError: The warehouse was written with another layout.
            StorageError: The disk refused the write; the old partitions are untouched.
        """
        if not (self.folder / LAYOUT_FILE).exists():
            self.store.record_layout()
        entries: dict[str, list[Entry]] = {}
        for (table, name), (frame, metadata) in made.items():
            written = partitions.write_rows(self.folder, table, name, frame, metadata)
            for shard, entry in written.items():
                entries.setdefault(shard, []).append(entry)
        self.store.publish(entries)

    def partition_metadata(
        self, table: str, shard: str, partition_name: str
    ) -> dict[str, str] | None:
        """Returns the metadata written with a partition; None where there is no partition.

        Raises:
            DamagedPartitionError: The catalogue is not as it was written.
        """
        version = self.partition_version(table, shard, partition_name)
        return None if version is None else version[1]

    def partition_version(
        self, table: str, shard: str, partition_name: str
    ) -> tuple[str, dict[str, str]] | None:
        """Returns what tells a partition's versions apart, and its metadata.

        None without one, or where its file is missing, or what was published with it is: it is made
        again then.

        Raises:
            DamagedPartitionError: The catalogue is not as it was written.
        """
        self.store.refresh(table, shard, partition_name)
        catalogue = self._catalogue(shard)
        entry = catalogue.entry(table, partition_name)
        if entry is None:
            return None
        files = catalogue.files_published_with(entry)
        if files is None:
            return None
        # Asked for each partition of each plan: paths as objects take twice the time.
        paths = [] if self.store.is_copy else [f"{self.folder}/{file}" for file in files]
        if not all(map(os.path.exists, paths)):
            return None
        return entry.seal, dict(entry.metadata)

    def read_partition(self, table: str, shard: str, partition_name: str) -> "pl.DataFrame":
        """Returns the rows of one partition in the order they were written.

        Raises:
            PartitionNotFoundError: The partition does not exist.
            DamagedPartitionError: The file is truncated or no Parquet file.
        """
        self.store.fetch({table}, {shard})
        return partitions.read_partition(self.folder, table, shard, partition_name)

    def read_partitions(
        self, table: str, shard: str, *, round_number: int | None = None
    ) -> "pl.DataFrame":
        """Returns the rows of all partitions of one shard by name, or of one sampling round.

        Raises:
            DamagedPartitionError: A file is truncated or no Parquet file.
        """
        import polars as pl

        self.store.fetch({table}, {shard})
        frames = [
            partitions.read_partition(self.folder, table, shard, info.name)
            for info in list_partitions(self.folder, [table], [self._catalogue(shard)])
            if round_number in (None, split_round(info.name)[0])
        ]
        return pl.concat(frames or [table_schema(table).polars_schema.to_frame()])

    def partitions(self, table: str | None = None, shard: str | None = None) -> list[PartitionInfo]:
        """Lists the partitions of a table, of one shard or of all; by default those of all tables.

        Raises:
            UnknownTableError: There is no such table.
            DamagedPartitionError: A catalogue is not what was written.
        """
        names = list(tables()) if table is None else [table_schema(table).name]
        self.store.fetch(names, None if shard is None else {shard}, with_rows=False)
        of = None if shard is None else [self._catalogue(shard)]
        return list_partitions(self.folder, names, of)

    def files(self, table: str) -> list[Path]:
        """Lists the files that hold a table's rows now, for programs that read Parquet themselves.

        Beside them lie files that were replaced, for queries that began with those. Of an empty
        table it is the file without rows, where the warehouse was prepared: it has the columns.

        Raises:
            UnknownTableError: There is no such table.
        """
        table_schema(table)
        self.store.fetch({table}, self._shards)
        files = published.files_of(self.folder, [table], self._shards)
        return files or list(self.folder.glob(f"{table}/shard={EMPTY_SHARD}/*.parquet"))

    def partition_names(self, table: str, shard: str, *, round_number: int) -> list[str]:
        """Lists the names of a shard's partitions of one sampling round, without the round."""
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
        """Runs one select statement over the tables and statistics views; see `run_query`.

        By default it reads the shards of `limited_to`, else all.
        """
        if self._of_counts and shards is None and needs_of(sql).are_counts:
            return self._of_counts(sql, parameters or {})
        shards = self._shards if shards is None else shards
        self._fetch(sql, shards)
        return run_query(
            self.folder, sql, frame_of, parameters, shards=shards, is_compared=is_compared
        )

    def fetch_rows(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Returns columns and rows of a person's statement, as Python values; see `run_query`.

        Frames take long to load.
        """
        self._fetch(sql)
        return run_query(self.folder, sql, lambda relation: (relation.columns, relation.fetchall()))

    def view(self, name: str, *, round_number: int | None = None) -> "pl.DataFrame":
        """Returns the rows of a statistics view in its own order."""
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
        """Returns the rows of a query of the project; see `query`."""
        sql = sql_texts("queries")[name]
        return self.query(sql, values, shards=shards, is_compared=is_compared)

    def best_examples(self, of: Iterable[tuple[int, str]], *, per_tool: int) -> "pl.DataFrame":
        """Returns the kept calls that help most in their texts: see `kept_calls_in_text.sql`.

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
        """Compares the kept calls of a round with those of another warehouse, or round.

        Raises:
            ComparisonError: A round has no decided calls, or no text of a kept call is in both.
            DamagedPartitionError, LayoutError, PartitionsChangingError: As of `query`.
        """
        for each in (self, other):
            each.store.fetch(TABLES)
        return compare_folders((self.folder, other.folder), rounds)

    def stream(self, name: str, **values: object) -> AbstractContextManager["pa.RecordBatchReader"]:
        """Gives the rows of a query of the project batch by batch; see `stream_query`."""
        sql = sql_texts("queries")[name]
        self._fetch(sql)
        return stream_query(self.folder, sql, values)

    def damaged_partitions(self, table_names: Iterable[str] | None = None) -> list[Path]:
        """Returns the files that are lost, or not as they were written; None: of all tables."""
        return published.damaged_partitions(self.folder, table_names, is_copy=self.store.is_copy)

    def _fetch(self, sql: str, shards: Collection[str] | None = None) -> None:
        needs = needs_of(sql)
        if needs.rows:
            self.store.fetch(needs.rows, shards)
        elif needs.published:
            self.store.fetch(needs.published, shards, with_rows=False)
