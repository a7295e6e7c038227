"""Creates the views: one per table over its slices, and the statistics of `views/*.sql`.

The same views go into an in-memory connection for our own queries and into `warehouse.duckdb`
for people, which is written anew beside and renamed, and never opened again by this code.
Does not run queries.
"""

import functools
import glob
import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.ground.whole_files import replacing, write_whole
from warehouse.connection import MACROS, open_connection, sql_literal, sql_name
from warehouse.damage import damaged_slices
from warehouse.errors import SlicesChangingError, StorageError
from warehouse.schema import TableSchema, schema_text, table_schema, tables
from warehouse.slices import damaged_error

if TYPE_CHECKING:
    import duckdb

STATISTICS_VIEWS = (
    "call_funnel",
    "call_statistics",
    "threshold_sweep",
    "drop_reasons",
    "kept_examples",
    "evaluation_summary",
)
"""Names of the views in `views/`, in the order they are created."""

_MAXIMUM_ATTEMPTS = 4
_WORD = re.compile(r"\w+")
_INTROSPECTION = re.compile(r"\bshow\b|\bdescribe\b|duckdb_|information_schema|pg_|sqlite_|query")


@functools.cache
def view_text(name: str) -> str:
    """Returns the SQL of a statistics view.

    Raises:
        KeyError: There is no such view.
    """
    if name not in STATISTICS_VIEWS:
        raise KeyError(name)
    return resources.files("warehouse.views").joinpath(f"{name}.sql").read_text(encoding="utf-8")


@functools.cache
def tables_behind(view: str) -> frozenset[str]:
    """Returns the tables that a statistics view reads."""
    return frozenset(_WORD.findall(view_text(view))) & frozenset(tables())


def tables_in(sql: str) -> frozenset[str]:
    """Returns every table that a statement may read, directly or through a view.

    A name counts wherever it stands, also in a comment: too many views cost milliseconds, one
    too few is an error. A statement that names none, or asks for the catalogue, gets all.

    Example:
        >>> sorted(tables_in("select count(*) from stage_costs"))
        ['stage_costs']
    """
    text = sql.lower()
    if _INTROSPECTION.search(text):
        return frozenset(tables())
    words = frozenset(_WORD.findall(text))
    found = words & frozenset(tables())
    for view in words.intersection(STATISTICS_VIEWS):
        found |= tables_behind(view)
    return found or frozenset(tables())


def create_views(
    connection: "duckdb.DuckDBPyConnection", folder: Path, table_names: Iterable[str]
) -> None:
    """Creates the views of some tables and every statistics view that reads only these.

    Args:
        connection: Where to create them.
        folder: Folder of the warehouse; each table has at least its zero-row slice.
        table_names: Names of the tables.

    Raises:
        duckdb.Error: A slice is damaged or was replaced at that moment.
    """
    chosen = frozenset(table_names)
    for name in tables():
        if name in chosen:
            connection.execute(table_view_statement(table_schema(name), folder))
    for name in STATISTICS_VIEWS:
        if tables_behind(name) <= chosen:
            connection.execute(f"create view {sql_name(name)} as {view_text(name)}")


def table_view_statement(schema: TableSchema, folder: Path) -> str:
    """Returns the statement that creates the view over a table's slices.

    The columns are named, so that their order does not depend on which file comes first. A
    table that is not cut by shard keeps its own `shard` column: the directory must not
    overrule it.
    """
    pattern = f"{glob.escape(str(folder.absolute()))}/{schema.name}/*/*.parquet"
    partitioning = (
        "hive_partitioning = false"
        if schema.is_cross_shard
        else "hive_partitioning = true, hive_types = {shard: varchar}"
    )
    columns = ", ".join(sql_name(column) for column in schema.column_names)
    # A view takes no parameters: the path is the one value that is written into a statement.
    return (
        f"create view {sql_name(schema.name)} as select {columns} from read_parquet("
        f"{sql_literal(pattern)}, union_by_name = true, {partitioning})"
    )


def write_database(folder: Path, database_file: Path) -> bool:
    """Writes the database file with all views, unless the one there is up to date.

    What the file was made from is remembered in a small file beside it, because opening the
    database would fail while somebody else has it open.

    Args:
        folder: Folder of the warehouse.
        database_file: The file for people and their tools.

    Returns:
        Whether it was written.

    Raises:
        StorageError: The disk refused the write.
        DamagedSliceError: A slice cannot be read, so its table has no view.
        SlicesChangingError: Slices were replaced at every attempt.
    """
    stamp = database_file.with_name(f"{database_file.name}.views")
    fingerprint = _fingerprint(folder)
    if database_file.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return False
    try:
        with replacing(database_file, is_durable=False) as temporary:
            _build_database(folder, temporary)
        write_whole(stamp, fingerprint, is_durable=False)
    except OSError as error:
        raise StorageError(
            f"Cannot write '{database_file}': {error}. Check the permissions and the free space "
            "of its folder; the rows themselves are intact."
        ) from error
    return True


def _build_database(folder: Path, file: Path) -> None:
    import duckdb

    failure: duckdb.Error | None = None
    for _ in range(_MAXIMUM_ATTEMPTS):
        file.unlink(missing_ok=True)
        try:
            with open_connection(file) as connection:
                # One transaction: each comment alone would bind its view again on a commit.
                connection.begin()
                create_views(connection, folder, tables())
                _comment(connection)
                connection.commit()
        except duckdb.Error as error:
            failure = error
            if damaged := damaged_slices(folder):
                raise damaged_error(damaged) from error
        else:
            return
    raise SlicesChangingError(
        f"The views cannot be created: {failure}. No slice is damaged: check the free space, "
        "and if a build is running, run the command again after it."
    ) from failure


def _comment(connection: "duckdb.DuckDBPyConnection") -> None:
    for schema in tables().values():
        view = sql_name(schema.name)
        connection.execute(f"comment on view {view} is {sql_literal(schema.description)}")
        for column in schema.columns:
            connection.execute(
                f"comment on column {view}.{sql_name(column.name)} is "
                f"{sql_literal(column.description)}"
            )


def _fingerprint(folder: Path) -> str:
    parts = [str(folder.absolute()), *MACROS, schema_text(), *map(view_text, STATISTICS_VIEWS)]
    parts += [table_view_statement(schema, folder) for schema in tables().values()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
