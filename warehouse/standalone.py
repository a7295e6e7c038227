"""Copies the warehouse into one DuckDB file that needs no other: tables with rows, and the views.

Constraints are not copied: the rows met them when their partitions were written, and keys would be
held in memory.
"""

from pathlib import Path

from warehouse.connection import open_connection, sql_name
from warehouse.errors import StorageError
from warehouse.needs import everything
from warehouse.reading import chosen_files, refuse_changed, refuse_damaged
from warehouse.relations import create_published, create_statistics_views, shown_columns
from warehouse.schema import sql_texts, tables


def write_standalone_database(folder: Path, file: Path) -> dict[str, int]:
    """Writes every table of the warehouse, with statistics views, into a file.

    Args:
        file: A database that does not exist yet.

    Returns:
        The number of rows of each table.

    Raises:
        DamagedPartitionError: A partition cannot be read.
        PartitionsChangingError: A partition was moved away while it was copied.
        StorageError: The disk refused the write.
    """
    import duckdb

    files = chosen_files(folder, everything())
    refuse_damaged(everything().rows, files)
    sources = files.sources()
    rows = {}
    try:
        with open_connection(file) as connection:
            for name, schema in tables().items():
                statement = (
                    f"create table {sql_name(name)} as select {shown_columns(schema)} "
                    f"from {sources[name]}"
                )
                (count,) = connection.execute(statement).fetchone() or (0,)
                rows[name] = int(count)
            create_published(connection, files.published)
            for name, text in sql_texts("counts").items():
                connection.execute(f"create view {sql_name(name)} as {text}")
            create_statistics_views(connection)
    except duckdb.Error as error:
        refuse_changed(folder, files, error)
        raise StorageError(
            f"Cannot write '{file}': {error}. Check the free space of its folder, then run the "
            "same again."
        ) from error
    return rows
