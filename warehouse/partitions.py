"""Writes and reads the rows of partitions; what is written counts once a catalogue names it.

Writing goes through a table made from `schema.sql`, so a row that breaks a constraint is found
before anything on disk changes. Queries are in `query.py`.
"""

import io
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from toolformer.base.parallel import in_parallel
from toolformer.base.whole_files import beside, write_whole
from warehouse.catalogue import Catalogue, Entry
from warehouse.connection import sql_literal, sql_name, temporary_tables
from warehouse.counting import counts_of
from warehouse.errors import (
    DamagedPartitionError,
    PartitionNotFoundError,
    PartitionsChangingError,
    PartitionValidationError,
    StorageError,
)
from warehouse.layout import (
    EMPTY,
    EMPTY_SHARD,
    catalogue_file,
    has_content,
    is_damaged,
    partition_folder,
    put_in_place,
)
from warehouse.published import path_of, read_catalogue
from warehouse.schema import TableSchema, table_schema, tables

if TYPE_CHECKING:
    import polars as pl

_ATTEMPTS = 3


def write_rows(
    folder: Path,
    table: str,
    name: str,
    frame: "pl.DataFrame",
    metadata: Mapping[str, Mapping[str, str]],
) -> dict[str, Entry]:
    """Writes the partitions of one name of some shards; see `Warehouse.replace_partitions`."""
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
    made = dict.fromkeys(metadata, Entry(table, name, None, 0, 0, {}))
    made |= zip(filled, _written(filled, name, schema, typed, rows), strict=True)
    return {shard: replace(entry, metadata=metadata[shard]) for shard, entry in made.items()}


def write_empty_files(folder: Path) -> None:
    """Writes files without rows, as far as they lack: the views of `warehouse.duckdb` find some.

    Of each table one, and a catalogue that names none of them.
    """
    catalogue, content = catalogue_file(folder, EMPTY_SHARD), Catalogue(EMPTY_SHARD).content()
    if not catalogue.exists() or catalogue.read_bytes() != content:
        write_whole(catalogue, content.decode())
    for table, schema in tables().items():
        target = folder / table / f"shard={EMPTY_SHARD}"
        files = list(target.glob("*.parquet"))
        damaged = list(filter(is_damaged, files))
        for file in damaged:
            file.unlink(missing_ok=True)
        if len(damaged) == len(files):
            none = schema.polars_schema.to_frame()
            _written({EMPTY_SHARD: target}, EMPTY, schema, none, {EMPTY_SHARD: 0})


def _written(
    targets: Mapping[str, Path],
    name: str,
    schema: TableSchema,
    frame: "pl.DataFrame",
    rows: Mapping[str, int],
) -> list[Entry]:
    """Writes rows that meet `schema.sql`: a file for each shard that has a folder here.

    Args:
        targets: The folders, by shard.
        rows: How many the frame has, by shard.
    """
    import duckdb

    if not targets:
        return []
    copying = Lock()

    def copied(shard: str) -> Entry:
        target = targets[shard]
        chosen = f" where shard = {sql_literal(shard)}" if len(rows) > 1 else ""
        # DuckDB gives a column with a dictionary a Bloom filter as well, so that a call or a
        # document is found without reading the ids of all partitions. By default ids, which differ
        # in every row, have none.
        statement = (
            f"copy (from {sql_name(schema.name)}{chosen}) to $path (format parquet, "
            f"compression zstd, dictionary_size_limit {max(rows[shard], 1)})"
        )
        try:
            target.mkdir(parents=True, exist_ok=True)
            with beside(target / f"{name}.parquet") as temporary:
                with copying:
                    connection.execute(statement, {"path": str(temporary)})
                size = temporary.stat().st_size
                file = put_in_place(temporary, target, name).name
        except (duckdb.IOException, OSError) as error:
            raise storage_error(target / name, error) from error
        return Entry(schema.name, name, file, size, rows[shard], {}, counts.get(shard, {}))

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
                "written; correct the rows and write the partition again."
            ) from error
        counts = counts_of(connection, schema.name)
        return in_parallel(copied, targets)


def read_partition(folder: Path, table: str, shard: str, name: str) -> "pl.DataFrame":
    """Returns the rows of one partition; see `Warehouse.read_partition`."""
    schema = table_schema(table)
    read: Entry | None = None
    for _ in range(_ATTEMPTS):
        entry = read_catalogue(folder, shard).entry(table, name)
        if entry is None:
            raise PartitionNotFoundError(
                f"Table '{table}' has no partition '{name}' of shard '{shard}'. Build the stage "
                "that writes it first."
            )
        path = path_of(folder, entry, shard)
        if path is None:
            return schema.polars_schema.to_frame()
        try:
            return _rows(schema, path)
        except FileNotFoundError as error:
            if entry == read:
                raise lost_error([path]) from error
            # Moved aside, or swept after another took its place.
            read = entry
        except OSError as error:
            raise damaged_error([path]) from error
    raise PartitionsChangingError(
        f"Partition '{name}' of table '{table}' and shard '{shard}' was moved away at every "
        "attempt to read it. Run the same again, or after the build."
    )


def _rows(schema: TableSchema, path: Path) -> "pl.DataFrame":
    import polars as pl

    content = path.read_bytes()
    # Before anything is decoded: flipped bits can decode to other rows.
    if not has_content(path, content):
        raise damaged_error([path])
    frame = pl.read_parquet(io.BytesIO(content), hive_partitioning=False)
    if frame.schema == schema.polars_schema:
        return frame
    return frame.select(pl.col(column.name).cast(column.dtype) for column in schema.columns)


def damaged_error(paths: list[Path]) -> DamagedPartitionError:
    """Returns the error that names damaged partitions and what to do about them."""
    names = ", ".join(f"'{path}'" for path in paths)
    noun = "Partition" if len(paths) == 1 else "Partitions"
    return DamagedPartitionError(
        f"{noun} {names} cannot be used: the content is not what this project wrote there. Remove "
        f"{'it' if len(paths) == 1 else 'them'}, then run `toolformer build`, which makes again "
        "what is missing. `toolformer doctor --full` shows whether anything else is damaged."
    )


def lost_error(paths: list[Path]) -> DamagedPartitionError:
    """Returns the error that names partitions whose files are missing, and what to do."""
    names = ", ".join(f"'{path}'" for path in paths)
    return DamagedPartitionError(
        f"Partitions are published whose files are missing: {names}. Put copies back, or run the "
        "command that makes them again, such as `toolformer build` or `toolformer evaluate`. To do "
        "without them, remove their lines from the files in the folder `catalogue`."
    )


def storage_error(path: Path, error: Exception) -> StorageError:
    """Returns the error for what the disk refused."""
    existing = next((parent for parent in path.parents if parent.exists()), Path(path.anchor))
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Cannot write '{path}': {error}. There are {free:,} bytes free on that disk. Free some "
        "space, check the permissions of the folder or move TOOLFORMER_HOME, then run the same "
        "command again; every partition written before is intact."
    )
