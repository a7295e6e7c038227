"""`toolformer sql`: take a query from the command line or standard input; show its rows."""

import sys
from typing import Annotated

import typer

from dagster_project.commands import console
from dagster_project.commands.options import AsJson
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_for_reading
from warehouse.errors import QueryError

_STANDARD_INPUT = "-"

app = typer.Typer()


# A query may begin with a comment (`-- …`), which is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT over the warehouse's tables and views; `-`, or none where something "
            "is piped in: standard input.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    files: Annotated[
        str | None,
        typer.Option(
            help="In place of a query: print the paths of the Parquet files that hold the rows of "
            "a table now. Files that were replaced lie beside them for a while.",
            metavar="TABLE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Query calls, losses, reasons, texts and scores in SQL."""
    warehouse = open_for_reading(Home.find())
    if files is None:
        columns, rows = warehouse.fetch_rows(_statement(query))
        console.table(columns, rows, "json" if as_json else "csv" if as_csv else "table")
        return
    if query is not None or as_csv:
        raise typer.BadParameter(
            "It takes the place of a query, and lists one path per line, or JSON with --json.",
            param_hint="--files",
        )
    paths = [str(file) for file in warehouse.files(files)]
    if as_json:
        console.document(paths)
    else:
        console.say("\n".join(paths))


def _statement(query: str | None) -> str:
    if query is not None and query != _STANDARD_INPUT:
        return query
    if query is None and sys.stdin.isatty():
        raise QueryError(
            "There is no query. Expected one such as `toolformer sql 'select * from call_funnel'`, "
            "or one that is piped in (`toolformer sql - < QUERY.sql`)."
        )
    # Some editors begin a file with a byte order mark. DuckDB refuses what is no text.
    text = sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise QueryError("The standard input is empty. Expected one query.")
    return text
