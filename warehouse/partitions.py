"""Writes and reads whole partitions; a partition appears at once, as a new version of it.

Writing goes through a table made from `schema.sql`, so a row that breaks a constraint is found
before anything on disk changes. Queries are in `query.py`.
"""

import functools
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from toolformer.base.digests import hex_digest
from toolformer.base.whole_files import beside
from warehouse.connection import sql_name, temporary_tables
from warehouse.counting import footer_entries
from warehouse.errors import (
    DamagedPartitionError,
    PartitionNameError,
    PartitionNotFoundError,
    PartitionsChangingError,
    PartitionValidationError,
    StorageError,
    StoreError,
)
from warehouse.layout import (
    EMPTY_SHARD,
    empty_partition,
    empty_partition_path,
    list_partitions,
    partition_folder,
    partition_path,
)
from warehouse.older_files import columns_not_in
from warehouse.schema import TableSchema, table_schema
from warehouse.versions import (
    digest_of,
    has_digest,
    is_damaged,
    publish,
    superseded,
    versions,
)

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_T = TypeVar("_T")
# Makes a finished file the newest version of a partition.
Publish = Callable[[Path], object]

_METADATA_KEY = "toolformer"
_ATTEMPTS = 3
# A stage asks several times for that of each partition of a shard.
_REMEMBERED_METADATA = 256
# The metadata is read without the rows, so it has a digest of its own.
_METADATA_DIGEST_KEY = "toolformer_digest"


def replace_partition(
    folder: Path,
    table: str,
    shard: str,
    name: str,
    frame: "pl.DataFrame",
    *,
    metadata: Mapping[str, str],
    publish: Publish,
) -> int:
    """Replaces a partition by the rows of a frame; see `Warehouse.replace_partition`."""
    from warehouse.validation import check_path_agreement, conform

    if shard == EMPTY_SHARD:
        raise PartitionNameError(f"The shard key '{EMPTY_SHARD}' is reserved; use another one.")
    path = partition_folder(folder, table, shard, name)
    schema = table_schema(table)
    typed = conform(schema, frame)
    check_path_agreement(schema, shard, name, typed)
    _write_version(path, name, schema, typed, metadata, publish)
    return typed.height


def ensure_empty_partition(folder: Path, table: str) -> None:
    """Writes the zero-row partition that gives an empty table its columns, unless it is there."""
    path = empty_partition_path(folder, table)
    if path is not None and not is_damaged(path):
        return
    schema = table_schema(table)
    name = empty_partition(table)
    target = partition_folder(folder, table, EMPTY_SHARD, name)
    rows = schema.polars_schema.to_frame()
    _write_version(target, name, schema, rows, {}, lambda file: publish(file, target, name))
    # Views would go on to read a damaged one, and that of other columns.
    newest = empty_partition_path(folder, table)
    for old in versions(target):
        if old != newest:
            old.unlink(missing_ok=True)


def _write_version(
    target: Path,
    name: str,
    schema: TableSchema,
    frame: "pl.DataFrame",
    metadata: Mapping[str, str],
    publish: Publish,
) -> None:
    """Writes rows that meet `schema.sql`, and makes them the newest version of a partition."""
    import duckdb

    with temporary_tables() as connection:
        connection.execute(schema.create_statement)
        connection.register("incoming", frame)
        _check_lists(connection, schema)
        try:
            connection.execute(
                f"insert into {sql_name(schema.name)} by name select * from incoming"
            )
        except duckdb.Error as error:
            raise _explain(connection, schema, error) from error
        stored = json.dumps(dict(metadata), sort_keys=True)
        entries = {
            _METADATA_KEY: stored,
            _METADATA_DIGEST_KEY: hex_digest(stored),
            **footer_entries(connection, schema.name),
        }
        # DuckDB gives a column with a dictionary a Bloom filter as well, so that a call or a
        # document is found without reading the ids of all partitions. By default ids, which differ
        # in every row, have none.
        dictionary_size = max(frame.height, 1)
        named = ", ".join(f"{key}: ${key}" for key in entries)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with beside(target / f"{name}.parquet") as temporary:
                connection.execute(
                    f"copy {sql_name(schema.name)} to $path (format parquet, compression zstd, "
                    f"dictionary_size_limit {dictionary_size}, kv_metadata {{{named}}})",
                    {"path": str(temporary), **entries},
                )
                publish(temporary)
        except StoreError:
            raise
        except (duckdb.IOException, OSError) as error:
            raise _storage_error(target / name, error) from error
    for old in superseded(versions(target, name)):
        old.unlink(missing_ok=True)


def partition_version(
    folder: Path, table: str, shard: str, name: str
) -> tuple[str, dict[str, str]] | None:
    """Returns the file name and the metadata of a partition's newest version, or None."""
    return _of_newest(folder, table, shard, name, lambda path: (path.name, _stored_metadata(path)))


def _of_newest(
    folder: Path, table: str, shard: str, name: str, read: Callable[[Path], _T]
) -> _T | None:
    """Reads the newest version of a partition; None where there is no partition."""
    for _ in range(_ATTEMPTS):
        path = partition_path(folder, table, shard, name)
        if path is None:
            return None
        try:
            return read(path)
        except FileNotFoundError:
            # Moved aside, or swept after another took its place.
            continue
        except OSError as error:
            raise damaged_error([path]) from error
    raise PartitionsChangingError(
        f"Partition '{name}' of table '{table}' and shard '{shard}' was moved away at every "
        "attempt to read it. Run the same again, or after the build."
    )


def _stored_metadata(path: Path) -> dict[str, str]:
    status = path.stat()
    return json.loads(_checked_metadata(path, status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=_REMEMBERED_METADATA)
def _checked_metadata(path: Path, *_state: int) -> str:
    import polars as pl

    try:
        # Several times as fast as by pyarrow.
        with path.open("rb") as file:
            stored = pl.read_parquet_metadata(file)
    # Of a footer of flipped bits.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, MemoryError) as error:
        raise damaged_error([path]) from error
    content = stored.get(_METADATA_KEY)
    if content is None or stored.get(_METADATA_DIGEST_KEY) != hex_digest(content):
        raise damaged_error([path])
    return content


def read_partition(folder: Path, table: str, shard: str, name: str) -> "pl.DataFrame":
    """Returns the rows of one partition; see `Warehouse.read_partition`."""
    import polars as pl

    schema = table_schema(table)
    frame = _of_newest(folder, table, shard, name, lambda path: _rows(schema, path))
    if frame is None:
        known = ", ".join(info.name for info in list_partitions(folder, table, shard)) or "none"
        raise PartitionNotFoundError(
            f"Table '{table}' has no partition '{name}' of shard '{shard}'. Partitions there: "
            f"{known}. Build the stage that writes it first."
        )
    if frame.schema == schema.polars_schema:
        return frame
    return frame.select(pl.col(column.name).cast(column.dtype) for column in schema.columns)


def _rows(schema: TableSchema, path: Path) -> "pl.DataFrame":
    import polars as pl

    content = path.read_bytes()
    # Before anything is decoded: flipped bits can decode to other rows.
    if not has_digest(path.name, digest_of(content)):
        raise damaged_error([path])
    frame = pl.read_parquet(io.BytesIO(content), hive_partitioning=False)
    if absent := columns_not_in(schema, path, frame.columns):
        return frame.with_columns(pl.lit(None).alias(column.name) for column in absent)
    return frame


def damaged_error(paths: list[Path]) -> DamagedPartitionError:
    """Returns the error that names damaged partitions and what to do about them."""
    names = ", ".join(f"'{path}'" for path in paths)
    noun = "Partition" if len(paths) == 1 else "Partitions"
    return DamagedPartitionError(
        f"{noun} {names} cannot be used: the content is not what this project wrote there. Remove "
        f"{'it' if len(paths) == 1 else 'them'}, then run `toolformer build`, which makes again "
        "what is missing, but for labels: put a copy of these back. `toolformer doctor --full` "
        "shows whether anything else is damaged."
    )


def _storage_error(path: Path, error: Exception) -> StorageError:
    existing = next((parent for parent in path.parents if parent.exists()), Path(path.anchor))
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Cannot write '{path}': {error}. There are {free:,} bytes free on that disk. Free some "
        "space, check the permissions of the folder or move TOOLFORMER_HOME, then run the same "
        "command again; every partition written before is intact."
    )


def _check_lists(connection: "duckdb.DuckDBPyConnection", schema: TableSchema) -> None:
    from warehouse.validation import list_rules

    rules = [
        ([column.name], f"{column.name!r} {problem}", condition)
        for column in schema.columns
        if column.type.endswith("[]")
        for condition, problem in list_rules(column).items()
    ]
    # All at once: a statement takes longer to prepare than to run.
    if rules and _first(connection, " or ".join(f"({rule})" for *_, rule in rules)):
        _raise_first(connection, schema, rules)


def _explain(
    connection: "duckdb.DuckDBPyConnection", schema: TableSchema, error: Exception
) -> PartitionValidationError:
    """Finds the column, the rule and the first row behind a refused insert, and raises it."""
    rules = [
        ([column.name], f"'{column.name}' is NULL", f"{sql_name(column.name)} is null")
        for column in schema.columns
        if column.is_required
    ]
    checks = connection.execute(
        "select constraint_column_names, expression from duckdb_constraints() "
        "where constraint_type = 'CHECK' order by constraint_index"
    ).fetchall()
    rules += [
        (list(dict.fromkeys(columns)), f"a row breaks the rule {rule}", f"not ({rule})")
        for columns, rule in checks
    ]
    problem = f"several rows share the key ({', '.join(schema.primary_key)})"
    keys = ", ".join(sql_name(key) for key in schema.primary_key)
    is_shared = f"true qualify count(*) over (partition by {keys}) > 1"
    _raise_first(connection, schema, [*rules, (list(schema.primary_key), problem, is_shared)])
    return PartitionValidationError(
        f"Table '{schema.name}' refuses the rows: {error}. Nothing was written; correct them."
    )


def _raise_first(
    connection: "duckdb.DuckDBPyConnection",
    schema: TableSchema,
    rules: Sequence[tuple[Sequence[str], str, str]],
) -> None:
    """Raises for a row of the first rule that one breaks: its columns, what is wrong, in SQL."""
    from warehouse.validation import constraint_error

    for columns, problem, condition in rules:
        if row := _first(connection, condition):
            raise constraint_error(schema, columns, problem, row)


def _first(connection: "duckdb.DuckDBPyConnection", condition: str) -> dict[str, object] | None:
    result = connection.sql(f"select * from incoming where {condition} limit 1")
    rows = result.fetchall()
    return dict(zip(result.columns, rows[0], strict=True)) if rows else None
