"""Opens DuckDB connections for the whole project."""

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

# Passed when a database is opened, because `set` changes a setting for one connection only.
_SETTINGS: dict[str, Any] = {
    # A Python variable must never be read as a table.
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Filters with up to this many values use the Bloom filters of Parquet files.
    "dynamic_or_filter_threshold": 500,
}
_MACROS = Path(__file__).with_name("macros.sql").read_text(encoding="utf-8")
MACROS = (_MACROS.format(tolerance=THRESHOLD_TOLERANCE, thresholds=list(SWEEP_THRESHOLDS)),)


def temporary_tables() -> "duckdb.DuckDBPyConnection":
    """Return a connection for a `with` block, whose temporary tables no other connection sees."""
    return _shared_database().cursor()


# Opening a database takes longer than writing a small partition.
@functools.cache
def _shared_database() -> "duckdb.DuckDBPyConnection":
    connection = open_connection()
    # DuckDB complains about connections that are open when Python exits.
    atexit.register(_shared_database.cache_clear)
    return connection


def open_connection(database: Path | None = None) -> "duckdb.DuckDBPyConnection":
    """Open a connection for a `with` block, by default to a new database in memory.

    The connection shows no progress bar, loads no extension, reads no Python variable and has the
    macros of `macros.sql`. Queries larger than memory write temporary files to TMPDIR.
    """
    import duckdb

    # DuckDB creates and removes this folder. Statements can read it, so it contains nothing else.
    spill = f"{tempfile.gettempdir()}/toolformer-{secrets.token_hex(8)}"
    config = _SETTINGS | {"temp_directory": spill}
    if database is not None:
        # Lets every DuckDB 1.x open the file.
        config["storage_compatibility_version"] = "v1.0.0"
    connection = duckdb.connect(":memory:" if database is None else str(database), config=config)
    # Set only if the bar is on: in Jupyter without ipywidgets DuckDB refuses to set it at all.
    if connection.execute("select current_setting('enable_progress_bar')").fetchall() == [(True,)]:
        connection.execute("set enable_progress_bar = false")
    connection.execute(*MACROS)
    return connection


def confine(connection: "duckdb.DuckDBPyConnection", *folders: Path) -> None:
    """Irrevocably deny files outside the folders, the network and changes of settings.

    A statement can still write to the folders, so check the kind of a user's statement first.
    """
    # DuckDB compares file patterns before it expands them, so the escaped form is allowed too.
    allowed = ", ".join(
        sql_literal(text) for each in map(str, folders) for text in (each, glob.escape(each))
    )
    connection.execute(f"set allowed_directories = [{allowed}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def sql_literal(text: str) -> str:
    """Return a text as an SQL literal.

    Example:
        >>> sql_literal("/home/o'neill")
        "'/home/o''neill'"
    """
    return "'" + text.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
