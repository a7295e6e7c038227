"""Writes and reads the rows of partitions. Rows count once a catalogue names their file.

Writing goes through a table made from `schema.sql`, so a row that breaks a constraint is found
before anything on disk changes. Queries are in `query.py`.
"""

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from toolformer.base.parallel import in_parallel
from toolformer.base.whole_files import flush
from warehouse.catalogue import Catalogue, Entry
from warehouse.connection import sql_literal, sql_name, temporary_tables
from warehouse.counting import counts_of, counts_version
from warehouse.damage import file_sha256, verify
from warehouse.errors import PartitionNotFoundError, PartitionValidationError, StorageError
from warehouse.layout import EMPTY_SHARD, catalogue_file, file_path, partition_folder
from warehouse.schema import TableSchema, table_schema, tables

if TYPE_CHECKING:
    import polars as pl


def new_version() -> str:
    """Return a name that no other publication has."""
    return secrets.token_hex(8)


def write_rows(
    folder: Path,
    table: str,
    name: str,
    frame: "pl.DataFrame",
    metadata: Mapping[str, Mapping[str, str]],
    *,
    version: str,
) -> dict[str, Entry]:
    """Write the partitions of one name, by shard; see `Warehouse.replace_partitions`."""
    from warehouse.validation import check_path_agreement, conform

    targets = {shard: partition_folder(folder, table, shard, name) for shard in metadata}
    schema = table_schema(table)
    typed = conform(schema, frame)
    check_path_agreement(schema, metadata, name, typed)
    rows = dict.fromkeys(metadata, typed.height)
    if len(metadata) > 1:
        rows = dict.fromkeys(metadata, 0) | dict(typed["shard"].value_counts().iter_rows())
    # Without rows there is no file.
    filled = {shard: target for shard, target in targets.items() if rows[shard]}
    digests, counts = _written(filled, name, schema, typed, rows, version)
    return {
        shard: Entry(
            table=table,
            name=name,
            version=version,
            rows=rows[shard],
            size=digests[shard][0] if shard in digests else 0,
            sha256=digests[shard][1] if shard in digests else "",
            metadata=raw(dict(metadata[shard])),
            counts=raw(counts.get(shard, {})),
            counted_by=counts_version(),
        )
        for shard in metadata
    }


def raw(content: object) -> msgspec.Raw:
    """Return content as JSON that an entry holds."""
    return msgspec.Raw(msgspec.json.encode(content))


def write_empty_files(folder: Path, *, is_renewed: bool) -> None:
    """Write a file without rows for each table, for the views of `warehouse.duckdb`.

    And a catalogue that names none of them.

    Args:
        is_renewed: Whether files that are there are replaced, since they may be damaged.
    """
    catalogue = Path(catalogue_file(folder, EMPTY_SHARD))
    if not catalogue.exists():
        catalogue.parent.mkdir(parents=True, exist_ok=True)
        catalogue.write_bytes(Catalogue(EMPTY_SHARD).content())
    for table, schema in tables().items():
        target = folder / table / f"shard={EMPTY_SHARD}"
        old = list(target.glob("*.parquet"))
        if is_renewed or not old:
            none = schema.polars_schema.to_frame()
            _written({EMPTY_SHARD: target}, "empty", schema, none, {EMPTY_SHARD: 0}, new_version())
            for file in old:
                file.unlink(missing_ok=True)


def _written(
    targets: Mapping[str, Path],
    name: str,
    schema: TableSchema,
    frame: "pl.DataFrame",
    rows: Mapping[str, int],
    version: str,
) -> tuple[dict[str, tuple[int, str]], Mapping[str, object]]:
    """Write rows that meet `schema.sql`: a file for each shard that has a folder here.

    Args:
        targets: The folders, by shard.
        rows: How many the frame has, by shard.

    Returns:
        Size and SHA-256 of the files, and the counts, by shard.
    """
    import duckdb

    if not targets:
        return {}, {}
    copying = Lock()

    def copied(shard: str) -> tuple[int, str]:
        path = targets[shard] / Path(file_path("", shard, name, version)).name
        chosen = f" where shard = {sql_literal(shard)}" if len(rows) > 1 else ""
        # DuckDB gives a column with a dictionary a Bloom filter as well, so that a call or a
        # document is found without reading the ids of all partitions. By default ids, which differ
        # in every row, have none.
        statement = (
            f"copy (from {sql_name(schema.name)}{chosen}) to $path (format parquet, "
            f"compression zstd, dictionary_size_limit {max(rows[shard], 1)})"
        )
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with copying:
                    connection.execute(statement, {"path": str(temporary)})
                written = temporary.stat().st_size, file_sha256(temporary)
                flush(temporary)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            flush(path.parent)
        except (duckdb.IOException, OSError) as error:
            raise storage_error(path, error) from error
        return written

    with temporary_tables() as connection:
        connection.execute(schema.create_statement)
        connection.register("incoming", frame)
        try:
            connection.execute(
                f"insert into {sql_name(schema.name)} by name select * from incoming"
            )
        except duckdb.Error as error:
            raise PartitionValidationError(
                f"Table '{schema.name}' refuses the rows of '{name}': {error}. Nothing was "
                "written. Correct the rows and write the partition again."
            ) from error
        counts = counts_of(connection, schema.name)
        return dict(zip(targets, in_parallel(copied, targets), strict=True)), counts


def read_partition(folder: Path, catalogue: Catalogue, table: str, name: str) -> "pl.DataFrame":
    """Return the rows of one partition; see `Warehouse.read_partition`."""
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
    return frame.select(schema.column_names).cast(schema.polars_schema)


def storage_error(path: Path, error: Exception) -> StorageError:
    """Return the error for a write that the disk refused."""
    existing = next((parent for parent in path.parents if parent.exists()), Path(path.anchor))
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Cannot write '{path}': {error}. There are {free:,} bytes free on that disk. Free some "
        "space, check the permissions of the folder or move TOOLFORMER_HOME, then run the same "
        "command again; every partition written before is intact."
    )
