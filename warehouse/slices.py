"""Writes, reads and removes whole slices; a slice appears and disappears at once.

Writing goes through a table made from `schema.sql`, so a row that breaks a constraint is found
before anything on disk changes. Does not join or aggregate: that is SQL, see `query.py`.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from toolformer.ground.whole_files import replacing
from warehouse.connection import open_connection, sql_name
from warehouse.errors import (
    DamagedSliceError,
    SliceNameError,
    SliceNotFoundError,
    SliceValidationError,
    StorageError,
)
from warehouse.layout import (
    EMPTY_SHARD,
    empty_slice_path,
    list_slices,
    slice_path,
    split_round,
)
from warehouse.schema import TableSchema, table_schema
from warehouse.validation import check_calls, check_path_agreement, conform, constraint_error

if TYPE_CHECKING:
    import duckdb

REPAIR_COMMAND = "toolformer doctor --repair"

_METADATA_KEY = "toolformer"


def replace_slice(
    folder: Path,
    table: str,
    shard: str,
    name: str,
    frame: pl.DataFrame,
    *,
    metadata: Mapping[str, str],
) -> int:
    """Replaces a slice by the rows of a frame, in the frame's order.

    Args:
        folder: Folder of the warehouse.
        table: Name of the table.
        shard: Shard key, the directory.
        name: Name of the slice, the file.
        frame: The rows; columns are matched by name.
        metadata: Facts stored in the file beside the rows, such as the fingerprint.

    Returns:
        The number of rows written.

    Raises:
        UnknownTableError: There is no such table.
        SliceNameError: The shard or the name cannot be part of a path.
        SliceValidationError: A row breaks a constraint; the old slice is untouched.
        StorageError: The disk refused the write; the old slice is untouched.
    """
    if shard == EMPTY_SHARD:
        raise SliceNameError(f"The shard key '{EMPTY_SHARD}' is reserved; use another one.")
    path = slice_path(folder, table, shard, name)
    schema = table_schema(table)
    typed = conform(schema, frame)
    check_path_agreement(schema, shard, name, typed)
    check_calls(schema, typed)
    _write_file(path, schema, typed, metadata)
    return typed.height


def ensure_empty_slice(folder: Path, table: str) -> bool:
    """Writes the zero-row slice that gives a table without rows its columns.

    Returns:
        Whether it was missing, damaged or made from an older schema, and so was written.

    Raises:
        UnknownTableError: There is no such table.
        StorageError: The disk refused the write.
    """
    schema = table_schema(table)
    path = empty_slice_path(folder, table)
    expected = {"schema": hashlib.sha256(schema.create_statement.encode()).hexdigest()}
    try:
        if _stored_metadata(path) == expected:
            return False
    except DamagedSliceError:
        pass
    _write_file(path, schema, schema.polars_schema.to_frame(), expected)
    return True


def _write_file(
    path: Path, schema: TableSchema, frame: pl.DataFrame, metadata: Mapping[str, str]
) -> None:
    """Writes checked rows beside `path` and renames them over it.

    Raises:
        SliceValidationError: A row breaks a constraint of `schema.sql`.
        StorageError: The disk refused the write.
    """
    import duckdb

    with open_connection() as connection:
        connection.execute(schema.create_statement)
        connection.register("incoming", frame)
        try:
            connection.execute(
                f"insert into {sql_name(schema.name)} by name select * from incoming"
            )
        except duckdb.Error as error:
            raise _explain(connection, schema, error) from error
        stored = json.dumps(dict(metadata), sort_keys=True)
        try:
            with replacing(path) as temporary:
                connection.execute(
                    f"copy {sql_name(schema.name)} to $path (format parquet, compression zstd, "
                    f"kv_metadata {{{_METADATA_KEY}: $metadata}})",
                    {"path": str(temporary), "metadata": stored},
                )
        except (duckdb.IOException, OSError) as error:
            raise _storage_error(path, error) from error


def slice_metadata(folder: Path, table: str, shard: str, name: str) -> dict[str, str] | None:
    """Returns the metadata written with a slice; None where there is no slice.

    Raises:
        UnknownTableError: There is no such table.
        SliceNameError: The shard or the name cannot be part of a path.
        DamagedSliceError: The file is truncated or no Parquet file.
    """
    return _stored_metadata(slice_path(folder, table, shard, name))


def _stored_metadata(path: Path) -> dict[str, str] | None:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            stored = pyarrow.parquet.read_metadata(file).metadata or {}
    except FileNotFoundError:
        return None
    except (pyarrow.ArrowException, OSError) as error:
        raise damaged_error([path]) from error
    return json.loads(stored.get(_METADATA_KEY.encode(), b"{}"))


def read_slice(folder: Path, table: str, shard: str, name: str) -> pl.DataFrame:
    """Returns the rows of one slice in the order they were written.

    Raises:
        UnknownTableError: There is no such table.
        SliceNameError: The shard or the name cannot be part of a path.
        SliceNotFoundError: The slice does not exist.
        DamagedSliceError: The file is truncated or no Parquet file.
    """
    path = slice_path(folder, table, shard, name)
    schema = table_schema(table)
    try:
        # One open file: a path would be opened again after a replacement.
        with path.open("rb") as file:
            frame = pl.read_parquet(file, hive_partitioning=False)
    except FileNotFoundError as error:
        known = ", ".join(info.name for info in list_slices(folder, table, shard)) or "none"
        raise SliceNotFoundError(
            f"Table '{table}' has no slice '{name}' of shard '{shard}'. Slices there: {known}. "
            "Build the stage that writes it first."
        ) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged_error([path]) from error
    return frame.select(
        pl.col(column.name).cast(column.dtype)
        if column.name in frame.columns
        else pl.lit(None, dtype=column.dtype).alias(column.name)
        for column in schema.columns
    )


def read_slices(
    folder: Path, table: str, shard: str, *, round_number: int | None = None
) -> pl.DataFrame:
    """Returns the rows of all slices of one shard, by slice name; no rows where there is none.

    Args:
        folder: Folder of the warehouse.
        table: Name of the table.
        shard: Shard key.
        round_number: Only the slices of this sampling round; by default those of all rounds.

    Raises:
        UnknownTableError: There is no such table.
        SliceNameError: The shard cannot be part of a path.
        DamagedSliceError: A file is truncated or no Parquet file.
    """
    frames = [
        read_slice(folder, table, shard, info.name)
        for info in list_slices(folder, table, shard)
        if round_number is None or split_round(info.name)[0] == round_number
    ]
    return pl.concat([table_schema(table).polars_schema.to_frame(), *frames])


def damaged_error(paths: list[Path]) -> DamagedSliceError:
    """Returns the error that names damaged slices and the way to repair them."""
    names = ", ".join(f"'{path}'" for path in paths)
    noun = "Slice" if len(paths) == 1 else "Slices"
    return DamagedSliceError(
        f"{noun} {names} cannot be read: truncated, or no Parquet file. Expected what this "
        f"project wrote. Run `{REPAIR_COMMAND}` to put damaged slices aside, then build "
        "their shards again; everything else is intact."
    )


def _storage_error(path: Path, error: Exception) -> StorageError:
    existing = next((parent for parent in path.parents if parent.exists()), Path(path.anchor))
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Cannot write '{path}': {error}. There are {free:,} bytes free on that disk. Free some "
        "space, check the permissions of the folder or move TOOLFORMER_HOME, then run the same "
        "command again; every slice written before is intact."
    )


def _explain(
    connection: "duckdb.DuckDBPyConnection", schema: TableSchema, error: Exception
) -> SliceValidationError:
    """Finds the column, the rule and the first row behind a refused insert."""
    present = {row[0] for row in connection.execute("describe incoming").fetchall()}
    for column in schema.columns:
        if column.is_required and column.name in present:
            row = _first(connection, f"{sql_name(column.name)} is null")
            if row is not None:
                return constraint_error(schema, [column.name], f"'{column.name}' is NULL", row)
    checks = connection.execute(
        "select constraint_column_names, expression from duckdb_constraints() "
        "where constraint_type = 'CHECK' order by constraint_index"
    ).fetchall()
    for columns, expression in checks:
        if present.issuperset(columns):
            row = _first(connection, f"not ({expression})")
            if row is not None:
                problem = f"a row breaks the rule {expression}"
                return constraint_error(schema, list(dict.fromkeys(columns)), problem, row)
    keys = ", ".join(sql_name(key) for key in schema.primary_key)
    row = _first(connection, f"true qualify count(*) over (partition by {keys}) > 1")
    if row is not None:
        problem = f"several rows share the key ({', '.join(schema.primary_key)})"
        return constraint_error(schema, schema.primary_key, problem, row)
    return SliceValidationError(
        f"Table '{schema.name}' refuses the rows: {error}. Nothing was written; correct them."
    )


def _first(connection: "duckdb.DuckDBPyConnection", condition: str) -> dict[str, object] | None:
    result = connection.sql(f"select * from incoming where {condition} limit 1")
    rows = result.fetchall()
    return dict(zip(result.columns, rows[0], strict=True)) if rows else None
