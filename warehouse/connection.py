"""Opens DuckDB connections, for the whole project."""

import atexit
import functools
import glob
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.base.constants import SWEEP_THRESHOLDS, THRESHOLD_TOLERANCE

if TYPE_CHECKING:
    import duckdb

# Given when a database is opened, since what `set` changes holds for one connection alone.
_SETTINGS: dict[str, Any] = {
    # A Python variable must never answer for a table.
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Filters on up to this many values use the Bloom filters of the files.
    "dynamic_or_filter_threshold": 500,
}
_MACROS = Path(__file__).with_name("macros.sql").read_text(encoding="utf-8")
MACROS = (_MACROS.format(tolerance=THRESHOLD_TOLERANCE, thresholds=list(SWEEP_THRESHOLDS)),)
"""SQL that defines the macros of every database."""


def temporary_tables() -> "duckdb.DuckDBPyConnection":
    """Return a connection for a `with` block, whose temporary tables no other connection sees.

    Its database is shared by the process: opening one takes longer than writing a small partition.
    """
    return _database_of_process().cursor()


@functools.cache
def _database_of_process() -> "duckdb.DuckDBPyConnection":
    connection = open_connection()
    # DuckDB complains about connections that are open when Python ends.
    atexit.register(_database_of_process.cache_clear)
    return connection


def open_connection(database: Path | None = None) -> "duckdb.DuckDBPyConnection":
    """Open a connection for a `with` block.

    It shows no progress bar, loads no extension, reads no Python variable and has the macros of
    `macros.sql`. Queries larger than memory put temporary files where TMPDIR says.

    Args:
        database: File to open for writing; None is a database in memory.
    """
    import duckdb

    # DuckDB creates and removes this folder. Statements may read it, so nothing else is in it.
    spill = f"{tempfile.gettempdir()}/toolformer-{secrets.token_hex(8)}"
    config = _SETTINGS | {"temp_directory": spill}
    if database is not None:
        # A file that DuckDB 1.x can open too.
        config["storage_compatibility_version"] = "v1.0.0"
    connection = duckdb.connect(":memory:" if database is None else str(database), config=config)
    # Only if it is on: in Jupyter without ipywidgets DuckDB refuses to set it at all.
    if connection.execute("select current_setting('enable_progress_bar')").fetchall() == [(True,)]:
        connection.execute("set enable_progress_bar = false")
    connection.execute(*MACROS)
    return connection


def confine(connection: "duckdb.DuckDBPyConnection", *folders: Path) -> None:
    """Refuse all files outside the folders, the network, and changes of settings, for good.

    DuckDB still lets a statement write to the folders: check the kind of a user's statement first.
    """
    # DuckDB compares patterns as they are written, so the escaped form is needed too.
    allowed = ", ".join(
        sql_literal(text) for each in map(str, folders) for text in (each, glob.escape(each))
    )
    connection.execute(f"set allowed_directories = [{allowed}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def sql_literal(text: str) -> str:
    """Return text as an SQL string literal, for statements that take no parameters.

    Example:
        >>> sql_literal("/home/o'neill")
        "'/home/o''neill'"
    """
    return "'" + text.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
