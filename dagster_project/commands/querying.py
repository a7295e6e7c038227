"""`toolformer sql`: take a query from the command line or standard input; show its rows."""

import sys

from dagster_project.commands import console
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_to_read
from warehouse.errors import QueryError

_STANDARD_INPUT = "-"


def show_rows(query: str | None, *, output: str) -> None:
    """Run one query and print its rows as a table, `json` or `csv`.

    Args:
        query: the statement; `-` or None stands for standard input.

    Raises:
        QueryError: there is no query, it is no text, or the warehouse refuses it.
    """
    columns, rows = open_to_read(Home.find()).fetch_rows(_statement(query))
    console.table(columns, rows, output)


def show_files(table: str, *, as_json: bool) -> None:
    """Print the paths of the Parquet files that hold a table's rows now.

    Raises:
        UnknownTableError: there is no such table.
    """
    files = [str(file) for file in open_to_read(Home.find()).files(table)]
    if as_json:
        console.document(files)
    else:
        console.say("\n".join(files))


def _statement(query: str | None) -> str:
    if query is not None and query != _STANDARD_INPUT:
        return query
    if query is None and sys.stdin.isatty():
        raise QueryError(
            "There is no query. Expected one such as `toolformer sql 'select * from call_funnel'`, "
            "or one that is piped in (`toolformer sql - < QUERY.sql`)."
        )
    try:
        # Editors of some systems mark a file as UTF-8.
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QueryError(
            "The standard input is no text in UTF-8. Expected one query. Save it as UTF-8."
        ) from error
    if not text.strip():
        raise QueryError("The standard input is empty. Expected one query.")
    return text
