"""Opens DuckDB connections, for the whole project."""

import atexit
import functools
import glob
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.base.constants import SWEEP_THRESHOLDS, THRESHOLD_TOLERANCE

if TYPE_CHECKING:
    import duckdb

_SETTINGS = (
    # A Python variable must never answer for a table.
    "set python_enable_replacements = false",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    # So many values are looked for by the filters of the files instead of reading every row.
    "set dynamic_or_filter_threshold = 500",
)
# Stand in every database, so that views, rules and people ask in the same words.
MACROS = (
    "create or replace macro reaches(loss_reduction, threshold) as "
    f"loss_reduction >= threshold - {THRESHOLD_TOLERANCE}",
    f"create or replace macro sweep_thresholds() as {list(SWEEP_THRESHOLDS)}::double[]",
    # The highest multiple of 0.01 nats that a loss reduction reaches, in hundredths.
    """create or replace macro reduction_bin(loss_reduction) as (
        case
            when loss_reduction >= 10 then 1000
            when loss_reduction <= -10 then -1000
            -- The product can land on either side of a whole number.
            when reaches(loss_reduction, (floor(loss_reduction * 100) + 1) / 100)
                then floor(loss_reduction * 100) + 1
            when reaches(loss_reduction, floor(loss_reduction * 100) / 100)
                then floor(loss_reduction * 100)
            else floor(loss_reduction * 100) - 1
        end
    )::integer""",
    # The bin of a threshold that is a multiple of 0.01 up to 10; NULL for others.
    "create or replace macro threshold_bin(threshold) as case when threshold <= 10 "
    "and round(threshold * 100) / 100 = threshold then round(threshold * 100)::integer end",
    # Of a share in percent; the two behind it are its 95 % interval as `score_interval` has it.
    "create or replace macro share_bound(hits, items, z) as 100 * (hits + z * z / 2 "
    "+ z * sqrt(hits * (items - hits) / nullif(items, 0) + z * z / 4)) / (items + z * z)",
    "create or replace macro share_low(hits, items) as share_bound(hits, items, -1.959964)",
    "create or replace macro share_high(hits, items) as share_bound(hits, items, 1.959964)",
)


@contextmanager
def open_connection(database: Path | None = None) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Opens a connection and closes it at the end of the block.

    Args:
        database: File to open for writing; None is a database in memory.

    Yields:
        The connection, with no progress bar, no extension loading and no look at variables. It
        has the macros above. Queries larger than memory put temporary files where TMPDIR says.
    """
    connection = _opened(database)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def temporary_tables() -> Iterator["duckdb.DuckDBPyConnection"]:
    """Gives a connection for temporary tables, which are gone at the end of the block.

    Its database is the process's own: to open one takes longer than to write a small partition.

    Yields:
        A connection like that of `open_connection`; none sees the tables of another.
    """
    connection = _database_of_process().cursor()
    try:
        yield connection
    finally:
        connection.close()


@functools.cache
def _database_of_process() -> "duckdb.DuckDBPyConnection":
    connection = _opened(None)
    # DuckDB complains of what is left open when Python ends.
    atexit.register(_database_of_process.cache_clear)
    return connection


def _opened(database: Path | None) -> "duckdb.DuckDBPyConnection":
    import duckdb

    # Made by DuckDB when it needs it, and removed. A statement may read what is in it, so it is a
    # folder of its own.
    spill = f"{tempfile.gettempdir()}/toolformer-{secrets.token_hex(8)}"
    config: dict[str, Any] = {"temp_directory": spill}
    if database is not None:
        # A file that DuckDB 1.x can open too.
        config["storage_compatibility_version"] = "v1.0.0"
    connection = duckdb.connect(":memory:" if database is None else str(database), config=config)
    # Set only where there is one: in Jupyter without ipywidgets DuckDB refuses to set it at all.
    if connection.execute("select current_setting('enable_progress_bar')").fetchall() == [(True,)]:
        connection.execute("set enable_progress_bar = false")
    for statement in (*_SETTINGS, *MACROS):
        connection.execute(statement)
    return connection


def confine(connection: "duckdb.DuckDBPyConnection", *folders: Path) -> None:
    """Takes away every file but those below the folders, the network, and the way back.

    DuckDB still lets a statement *write* below them; who runs a foreign statement checks its
    kind first.
    """
    # Patterns are compared as they are written, so the escaped form has to be named too.
    allowed = ", ".join(
        sql_literal(text) for each in map(str, folders) for text in (each, glob.escape(each))
    )
    connection.execute(f"set allowed_directories = [{allowed}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def sql_literal(text: str) -> str:
    """Returns text as an SQL string literal, for the statements that take no parameters.

    Example:
        >>> sql_literal("/home/o'neill")
        "'/home/o''neill'"
    """
    return "'" + text.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """Returns a name as a quoted SQL identifier.

    Example:
        >>> sql_name("window")
        '"window"'
    """
    return '"' + name.replace('"', '""') + '"'
