"""`toolformer sql`: run a query and print its rows."""

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


# A query may start with a comment (`-- …`), which must not be parsed as an option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT statement over the warehouse's tables and views. `-`, or no query "
            "in a pipe, reads it from standard input.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    files: Annotated[
        str | None,
        typer.Option(
            help="Instead of running a query, print the paths of the Parquet files with the "
            "table's current rows. Replaced files stay in their folders for a while.",
            metavar="TABLE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Query calls, losses, drop reasons, texts and scores with SQL."""
    warehouse = open_for_reading(Home.find())
    if files is None:
        columns, rows = warehouse.fetch_rows(_statement(query))
        console.table(columns, rows, "json" if as_json else "csv" if as_csv else "table")
        return
    if query is not None or as_csv:
        raise typer.BadParameter(
            "This option prints paths, one per line, or as JSON with --json. Leave out the query "
            "and --csv.",
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
            "The query is missing. Expected one such as `toolformer sql 'select * from "
            "call_funnel'`, or one from standard input (`toolformer sql - < QUERY.sql`)."
        )
    # Some editors start a file with a byte order mark. DuckDB rejects bytes that are not text.
    text = sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise QueryError("Standard input is empty. Expected one query.")
    return text
