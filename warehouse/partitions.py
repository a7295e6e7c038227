"""Writes and reads the rows of partitions. Rows become visible once a catalogue names their file.

Rows are first inserted into a table made by `schema.sql`, so a row that breaks a constraint is
found before anything on disk changes. Queries are in `query.py`.
"""

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from toolformer.base.atomic_files import remove_abandoned, replacing
from toolformer.base.parallel import in_parallel
from warehouse.catalogue import Catalogue, Entry
from warehouse.connection import sql_literal, sql_name, temporary_tables
from warehouse.counting import counts_of, counts_version
from warehouse.damage import file_sha256, verify
from warehouse.errors import PartitionNotFoundError, PartitionValidationError, StorageError
from warehouse.layout import EMPTY_SHARD, catalogue_file, check_names
from warehouse.schema import ALL, table_schema, tables

if TYPE_CHECKING:
    import polars as pl


def write_rows(
    folder: Path,
    table: str,
    name: str,
    frame: "pl.DataFrame",
    metadata: Mapping[str, Mapping[str, str]],
    *,
    version: str,
) -> dict[str, Entry]:
    import duckdb

    from warehouse.validation import check_path_agreement, conform

    for shard in metadata:
        check_names(table, shard, name)
    schema = table_schema(table)
    typed = conform(schema, frame)
    check_path_agreement(schema, metadata, name, typed)
    rows = {ALL: typed.height}
    if not schema.is_cross_shard:
        rows = dict(typed["shard"].value_counts().iter_rows())
    entries = {
        shard: Entry(
            table=table,
            name=name,
            version=version,
            rows=rows.get(shard, 0),
            metadata=raw(dict(of_shard)),
            counted_by=counts_version(),
        )
        for shard, of_shard in metadata.items()
    }
    if not typed.height:
        return entries
    with temporary_tables() as connection:
        connection.execute(schema.create_statement)
        connection.register("incoming", typed)
        try:
            connection.execute(f"insert into {sql_name(table)} by name from incoming")
        except duckdb.Error as error:
            raise PartitionValidationError(
                f"Table '{table}' refuses the rows of '{name}': {error}. Nothing was written. "
                "Correct the rows and write the partition again."
            ) from error
        counts = counts_of(connection, table)
        copying = Lock()

        def write_shard(shard: str) -> Entry:
            entry = entries[shard]
            # A partition without rows has no file.
            if (path := entry.path(shard)) is None:
                return entry
            where = "" if schema.is_cross_shard else f"where shard = {sql_literal(shard)}"
            # DuckDB writes a Bloom filter for every column with a dictionary. This limit gives id
            # columns a dictionary too, although ids differ in every row. A call or document is then
            # found without reading the ids of all partitions.
            statement = (
                f"copy (from {sql_name(table)} {where}) to $path (format parquet, "
                f"compression zstd, dictionary_size_limit {entry.rows})"
            )
            with storing(folder / path) as temporary:
                with copying:
                    connection.execute(statement, {"path": str(temporary)})
                size, sha256 = temporary.stat().st_size, file_sha256(temporary)
            of_shard = raw(counts.get(shard, {}))
            return msgspec.structs.replace(entry, size=size, sha256=sha256, counts=of_shard)

        return dict(zip(entries, in_parallel(write_shard, entries), strict=True))


def raw(content: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(content))


def write_empty_files(folder: Path, *, is_renewed: bool) -> None:
    if is_renewed:
        remove_abandoned(folder.glob(f"*/shard={EMPTY_SHARD}/*.tmp"))
    for table, schema in tables().items():
        file = folder / table / f"shard={EMPTY_SHARD}" / "empty.parquet"
        if is_renewed or not file.exists():
            content = io.BytesIO()
            schema.polars_schema.to_frame().write_parquet(content)
            with storing(file) as temporary:
                temporary.write_bytes(content.getvalue())
    catalogue = Path(catalogue_file(folder, EMPTY_SHARD))
    if not catalogue.exists():
        with storing(catalogue) as temporary:
            temporary.write_bytes(Catalogue(EMPTY_SHARD).content())


@contextmanager
def storing(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path`; raise StorageError on failure."""
    import duckdb

    try:
        with replacing(path) as temporary:
            yield temporary
    except (duckdb.IOException, OSError) as error:
        raise storage_error(path, error) from error


def read_partition(folder: Path, catalogue: Catalogue, table: str, name: str) -> "pl.DataFrame":
    import polars as pl

    schema = table_schema(table)
    entry = catalogue.partitions.get((table, name))
    if entry is None:
        raise PartitionNotFoundError(
            f"Table '{table}' has no partition '{name}' of shard '{catalogue.shard}'. Build the "
            "stage that writes it first."
        )
    if not entry.rows:
        return schema.polars_schema.to_frame()
    verify(folder, catalogue.shard, entry)
    frame = pl.read_parquet(folder / str(entry.path(catalogue.shard)), hive_partitioning=False)
    if frame.schema == schema.polars_schema:
        # The cast is skipped if possible: each operation on a frame takes a third of a millisecond,
        # while reading a small file takes one.
        return frame
    return frame.select(schema.column_names).cast(schema.polars_schema)


def storage_error(path: Path, error: Exception) -> StorageError:
    existing = next((parent for parent in path.parents if parent.exists()), Path(path.anchor))
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Cannot write '{path}': {error}. There are {free:,} bytes free on that disk. Free some "
        "space, check the permissions of the folder or move TOOLFORMER_HOME, then run the same "
        "command again. Every partition written before is intact."
    )
