"""Copies the warehouse into one DuckDB file that needs no other: tables with rows, and the views.

Constraints are not copied: the rows met them when their partitions were written, and keys would be
held in memory.
"""

from pathlib import Path

from warehouse.catalogue import (
    create_statistics_views,
    metadata_of,
    shown_columns,
)
from warehouse.connection import open_connection, sql_name
from warehouse.counting import COUNTS, counts_text
from warehouse.descriptions import describe
from warehouse.errors import PartitionsChangingError, StorageError
from warehouse.needs import METADATA_VIEW, everything
from warehouse.reading import are_there, chosen_files, looked_at, refuse_damaged
from warehouse.schema import tables


def write_standalone_database(folder: Path, file: Path) -> dict[str, int]:
    """Writes every table of the warehouse, with descriptions and statistics views, into a file.

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
    sources = looked_at(everything(), files).sources()
    rows = {}
    try:
        with open_connection(file) as connection:
            for name, schema in tables().items():
                statement = (
                    f"create table {sql_name(name)} as select {shown_columns(schema)} "
                    f"from {sources[name].rows}"
                )
                (count,) = connection.execute(statement).fetchone() or (0,)
                rows[name] = int(count)
            connection.execute(f"create table {METADATA_VIEW} as {metadata_of(sources)}")
            for name in COUNTS:
                connection.execute(f"create view {sql_name(name)} as {counts_text(name)}")
            create_statistics_views(connection)
            describe(connection, "table")
    except duckdb.Error as error:
        if not are_there(files):
            raise PartitionsChangingError(
                "Partitions were moved away while they were copied: a build runs. Run the same "
                "again, or after the build."
            ) from error
        raise StorageError(
            f"Cannot write '{file}': {error}. Check the free space of its folder, then run the "
            "same again."
        ) from error
    return rows
