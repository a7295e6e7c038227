"""`toolformer sql`: take a query from the command line, standard input or a file; show its rows."""

import sys
from pathlib import Path

from dagster_project.commands import console
from toolformer.home.home import Home
from toolformer.home.wiring.warehouse import open_warehouse
from warehouse.errors import QueryError

_STANDARD_INPUT = "-"
_MAX_BYTES = 2**20


def show_rows(query: str | None, *, file: Path | None, output: str) -> None:
    """Run one query and print its rows as a table, `json` or `csv`.

    Args:
        query: the statement; `-`, or None without a file, stands for standard input.

    Raises:
        QueryError: there is no query or there are two, it is no text, or the warehouse refuses it.
    """
    columns, rows = open_warehouse(Home.find()).fetch_rows(_statement(query, file))
    console.table(columns, rows, output)


def show_files(table: str, *, as_json: bool) -> None:
    """Print the paths of the Parquet files that hold a table's rows now.

    Raises:
        UnknownTableError: there is no such table.
    """
    files = [str(file) for file in open_warehouse(Home.find()).files(table)]
    if as_json:
        console.document(files)
    else:
        console.say("\n".join(files))


def _statement(query: str | None, file: Path | None) -> str:
    if file is None and query is not None and query != _STANDARD_INPUT:
        return query
    if file is not None and query is not None:
        raise QueryError(
            f"There are two queries: one on the command line and {str(file)!r}. Expected one. "
            "Leave one of them out."
        )
    if file is None and query is None and sys.stdin.isatty():
        raise QueryError(
            "There is no query. Expected one such as `toolformer sql 'select * from call_funnel'`, "
            "a file (`--file QUERY.sql`), or one that is piped in (`toolformer sql - < QUERY.sql`)."
        )
    name = "The standard input" if file is None else f"The file {str(file)!r}"
    try:
        # A pipe is fine, and a device is not read for ever.
        with sys.stdin.buffer if file is None else file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise QueryError(f"{name} is longer than {_MAX_BYTES:,} bytes. Expected one query.")
        # Editors of some systems mark a file as UTF-8.
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise QueryError(
            f"{name} cannot be read: {error.strerror}. Expected a file with one query. Check the "
            "path."
        ) from error
    except UnicodeDecodeError as error:
        raise QueryError(
            f"{name} is no text in UTF-8. Expected one query. Save it as UTF-8."
        ) from error
    if not text.strip():
        raise QueryError(f"{name} is empty. Expected one query.")
    return text
