"""Creates the views: each table over its partitions, their counts, and those of `views/*.sql`.

The same views go into an in-memory connection for our own queries and into `warehouse.duckdb`
for people, which is written anew beside and renamed, and never opened again by this code.
"""

import glob
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest
from toolformer.base.whole_files import replacing, write_whole
from warehouse.connection import MACROS, open_connection, sql_literal, sql_name
from warehouse.counting import COUNTS, from_footers
from warehouse.errors import PartitionsChangingError, StorageError
from warehouse.layout import EMPTY_SHARD, damaged_partitions, shard_of
from warehouse.needs import METADATA_VIEW, STATISTICS_VIEWS, Needs, everything
from warehouse.partitions import damaged_error
from warehouse.schema import TableSchema, sql_texts, table_schema, tables
from warehouse.versions import VERSION_GLOB, VERSION_PATTERN

if TYPE_CHECKING:
    import duckdb

_NO_METADATA = "select '' as file_name, ''::blob as key, ''::blob as value where false"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the partitions of a table are read from, each as the SQL behind `from`.

    Attributes:
        rows: rows of the partitions.
        metadata: what their footers hold, by `file_name`, `key` and `value`.
    """

    rows: str
    metadata: str


def create_views(
    connection: "duckdb.DuckDBPyConnection",
    needs: Needs,
    sources: Mapping[str, Source],
    remembered: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Creates the views that a statement needs.

    Args:
        sources: Of each table that is read: `file_list_source` or `glob_source`.
        remembered: The SQL of counts that need not be read from footers, by their names.

    Raises:
        duckdb.Error: A partition is damaged, or was moved away at that moment.
    """
    for name in tables():
        if name in needs.rows:
            columns = shown_columns(table_schema(name))
            _create_view(connection, name, f"select {columns} from {sources[name].rows}")
    for name, table in COUNTS.items():
        if name in needs.views:
            text = remembered.get(name) or from_footers(name, sources[table].metadata)
            _create_view(connection, name, text)
    if METADATA_VIEW in needs.views and sources:
        _create_view(connection, METADATA_VIEW, metadata_of(sources))
    create_statistics_views(connection, needs.views)


def create_statistics_views(
    connection: "duckdb.DuckDBPyConnection",
    names: Collection[str] = STATISTICS_VIEWS,
) -> None:
    """Creates statistics views over views or tables, all but that of the metadata."""
    for name in STATISTICS_VIEWS:
        if name in names and name != METADATA_VIEW:
            _create_view(connection, name, sql_texts("views")[name])


def _create_view(connection: "duckdb.DuckDBPyConnection", name: str, text: str) -> None:
    connection.execute(f"create view {sql_name(name)} as {text}")


def metadata_of(sources: Mapping[str, Source]) -> str:
    """Returns the SQL that selects what is stored with each partition beside its rows."""
    tables_sql = (
        f"select {sql_literal(name)} as table_name, file_name, key, value from {source.metadata}"
        for name, source in sources.items()
    )
    view = sql_texts("views")[METADATA_VIEW]
    return f"with stored as ({' union all '.join(tables_sql)})\n{view}"


def shown_columns(schema: TableSchema) -> str:
    """Returns the SQL that selects a table's columns, in an order that no file decides."""
    return ", ".join(map(sql_name, schema.column_names))


def file_list_source(schema: TableSchema, files: Collection[Path], *, unites: bool) -> Source:
    """Returns the SQL that reads these versions of a table's partitions; see `reading.Files`.

    A warehouse that nobody prepared may have no file without rows to give the columns.
    """
    listed = ", ".join(sql_literal(str(path)) for path in files)
    rows = f"read_parquet([{listed}], union_by_name = {unites}, {_partitioning(schema)})"
    if any(shard_of(path) == EMPTY_SHARD for path in files):
        return Source(rows, f"parquet_kv_metadata([{listed}])")
    columns = ", ".join(f"null::{each.type} as {sql_name(each.name)}" for each in schema.columns)
    empty = f"select {columns} where false"
    if not files:
        return Source(f"({empty})", f"({_NO_METADATA})")
    return Source(f"({empty} union all by name from {rows})", f"parquet_kv_metadata([{listed}])")


def glob_source(schema: TableSchema, folder: Path) -> Source:
    """Returns the SQL that reads the partitions of a table as they are whenever it is run.

    DuckDB lists the folder once for each pattern, in the order of the join. The newest versions are
    chosen from the first list, so the second one has them all: it is made while they still lie
    there, whatever is published in between.
    """
    pattern = f"{glob.escape(str(folder.absolute()))}/{schema.name}/*/{VERSION_GLOB}"
    # A view takes no parameters: paths are the one kind of value that is written into a statement.
    files, version = sql_literal(pattern), sql_literal(VERSION_PATTERN)
    newest = f"""(
        select max(file) as newest_file
        from glob({files})
        where regexp_matches(file, {version})
        group by regexp_extract(file, {version}, 1)
    )"""
    return Source(
        f"{newest} join read_parquet({files}, union_by_name = true, {_partitioning(schema)}) "
        "on filename = newest_file",
        f"{newest} join parquet_kv_metadata({files}) on file_name = newest_file",
    )


def _partitioning(schema: TableSchema) -> str:
    # A table that is not cut by shard keeps its own `shard` column: the directory must not
    # overrule it.
    return (
        "hive_partitioning = false"
        if schema.is_cross_shard
        else "hive_partitioning = true, hive_types = {shard: varchar}"
    )


def write_database(folder: Path, database_file: Path) -> None:
    """Writes the database file with all views, unless the one there is up to date.

    What the file was made from is remembered in a small file beside it, because opening the
    database would fail while somebody else has it open.

    Raises:
        StorageError: The disk refused the write.
        DamagedPartitionError: A partition cannot be read, so its table has no view.
        PartitionsChangingError: Partitions were moved away meanwhile.
    """
    import duckdb

    stamp = database_file.with_name(f"{database_file.name}.views")
    fingerprint = _fingerprint(folder)
    # Bytes: a damaged one may be no text.
    if database_file.exists() and stamp.exists() and stamp.read_bytes() == fingerprint.encode():
        return
    try:
        with (
            replacing(database_file, is_durable=False) as temporary,
            open_connection(temporary) as connection,
        ):
            create_views(connection, everything(), _glob_sources(folder))
        write_whole(stamp, fingerprint, is_durable=False)
    except OSError as error:
        raise StorageError(
            f"Cannot write '{database_file}': {error}. Check the permissions and the free space "
            "of its folder; the rows themselves are intact."
        ) from error
    except duckdb.Error as error:
        if damaged := damaged_partitions(folder):
            raise damaged_error(damaged) from error
        raise PartitionsChangingError(
            f"The views cannot be created: {error}. No partition is damaged: check the free space, "
            "and if a build is running, run the command again."
        ) from error


def _glob_sources(folder: Path) -> dict[str, Source]:
    return {name: glob_source(schema, folder) for name, schema in tables().items()}


def _fingerprint(folder: Path) -> str:
    parts = [str(folder.absolute()), *MACROS]
    parts += (text for each in ("", "views", "counts") for text in sql_texts(each).values())
    for source in _glob_sources(folder).values():
        parts += source.rows, source.metadata
    return hex_digest(*parts)
