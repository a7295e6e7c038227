"""What tables, views and their columns mean, put beside them in a database.

Tables are described by `schema.sql`, counts and statistics views by the comment on top of their
file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from warehouse.connection import sql_literal, sql_name
from warehouse.counting import COUNTS
from warehouse.needs import METADATA_VIEW, STATISTICS_VIEWS
from warehouse.schema import sql_texts, tables

if TYPE_CHECKING:
    import duckdb

_COLUMNS = "Columns:"
_CONTINUED = " " * 5


@dataclass(frozen=True, slots=True)
class ViewDescription:
    """What a view gives: a description, and one of each of its columns by name, in order."""

    description: str
    columns: Mapping[str, str]


def parse_view_description(text: str) -> ViewDescription:
    r"""Reads the comment on top of a view's SQL.

    Args:
        text: Text of the view. Behind the line `-- Columns:` each column has a line of its own, and
            a long description goes on in lines that are indented further.

    Example:
        >>> parse_view_description("-- Calls.\n--\n-- Columns:\n--   tool: its name\nselect 1")
        ViewDescription(description='Calls.', columns={'tool': 'its name'})
    """
    lines = [
        line.removeprefix("--")
        for line in takewhile(lambda line: line.startswith("--"), text.splitlines())
    ]
    about = [line.strip() for line in takewhile(lambda line: line.strip() != _COLUMNS, lines)]
    columns: dict[str, str] = {}
    for line in lines[len(about) + 1 :]:
        if line.startswith(_CONTINUED):
            columns[next(reversed(columns))] += f" {line.strip()}"
        else:
            name, _, meaning = line.strip().partition(": ")
            columns[name] = meaning
    return ViewDescription(" ".join(filter(None, about)), columns)


def describe(connection: "duckdb.DuckDBPyConnection", kind: Literal["table", "view"]) -> None:
    """Puts the descriptions beside tables, views and their columns."""
    for schema in tables().values():
        comments = {column.name: column.description for column in schema.columns}
        _comment(connection, kind, schema.name, ViewDescription(schema.description, comments))
    for name in COUNTS:
        _comment(connection, "view", name, parse_view_description(sql_texts("counts")[name]))
    for name in STATISTICS_VIEWS:
        # Without partitions beside it, what these held is a table too.
        kind_here = kind if name == METADATA_VIEW else "view"
        _comment(connection, kind_here, name, parse_view_description(sql_texts("views")[name]))


def _comment(
    connection: "duckdb.DuckDBPyConnection", kind: str, name: str, described: ViewDescription
) -> None:
    quoted = sql_name(name)
    connection.execute(f"comment on {kind} {quoted} is {sql_literal(described.description)}")
    for column, text in described.columns.items():
        connection.execute(f"comment on column {quoted}.{sql_name(column)} is {sql_literal(text)}")
