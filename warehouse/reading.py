"""Opens the views over chosen versions of slices, for statements that read.

Does not run statements.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.ground.whole_files import beside
from warehouse.catalogue import create_views, listed_source
from warehouse.connection import confine, open_connection
from warehouse.damage import damaged_files, files_of
from warehouse.errors import QueryError
from warehouse.schema import table_schema
from warehouse.slices import damaged_error

if TYPE_CHECKING:
    import duckdb

Files = Mapping[str, Sequence[Path]]
"""Of each table the versions that are read."""


def chosen_files(folder: Path, table_names: Iterable[str]) -> Files:
    """Returns the newest versions of the slices of some tables.

    Args:
        folder: Folder of the warehouse.
        table_names: Tables to read.

    Raises:
        DamagedSliceError: One of them is not as it was written.
    """
    files = {table: files_of(folder, table) for table in table_names}
    # Before anything is decoded: flipped bits can decode to other rows.
    if damaged := damaged_files(path for of_table in files.values() for path in of_table):
        raise damaged_error(damaged)
    return files


def are_there(files: Files) -> bool:
    """Returns whether none of the versions was moved away or swept meanwhile."""
    return all(path.exists() for of_table in files.values() for path in of_table)


@contextmanager
def open_views(folder: Path, files: Files) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Opens a connection with the views over these versions, which sees no other file.

    Args:
        folder: Folder of the warehouse.
        files: What to read.

    Raises:
        duckdb.Error: A version is damaged, or was moved away at that moment.
    """
    spill = beside(folder / ".spill")
    try:
        with open_connection(spill_folder=spill) as connection:
            create_views(
                connection,
                {name: listed_source(table_schema(name), files[name]) for name in files},
            )
            confine(connection, folder)
            yield connection
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def refused(error: Exception) -> QueryError:
    """Returns what is said of a statement that DuckDB does not run."""
    return QueryError(f"DuckDB refused the query: {error}\nCorrect the statement and run it again.")
