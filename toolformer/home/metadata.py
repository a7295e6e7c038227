"""Metadata of a table in the UI: a preview of its rows, and its columns."""

import json
import re
from typing import Any

import dagster as dg
import polars as pl

from warehouse.schema import table_schema
from warehouse.warehouse import Warehouse

# Of `corpus_manifest`: the sources that could not be used, by path, with the error.
REJECTED_SOURCES = "rejected sources"

# What Markdown, its tables or HTML inside it would take for markup. Texts of the corpus are full
# of it: brackets of calls, `<API>`, underscores.
_MARKUP = re.compile(r"([\\`*_\[\]<>|~])")


def table_markdown(
    frame: pl.DataFrame, *, rows: int = 5, width: int = 60
) -> dg.MarkdownMetadataValue:
    """Show the first rows of a frame as a Markdown table.

    Args:
        rows: most rows to show, at least 1.
        width: most characters of a cell, at least 1; longer ones are cut and end in `…`.

    Returns:
        Markdown, with a line below the table that says how many rows are not shown.

    Example:
        >>> print(table_markdown(pl.DataFrame({"tool": ["QA"], "rows": [1200]})).value)
        | tool | rows |
        | :--- | ---: |
        | QA | 1,200 |
    """
    if not frame.columns:
        return dg.MetadataValue.md("*no columns*")
    shown = frame.head(rows)
    lines = [
        _line(_cell(name, width) for name in frame.columns),
        _line("---:" if dtype.is_numeric() else ":---" for dtype in frame.dtypes),
        *(_line(_cell(value, width) for value in row) for row in shown.iter_rows()),
    ]
    hidden = frame.height - shown.height
    if frame.is_empty():
        lines += ["", "*no rows*"]
    elif hidden:
        lines += ["", f"*and {hidden:,} more row{'s' if hidden > 1 else ''}*"]
    return dg.MetadataValue.md("\n".join(lines))


def column_schema(table: str) -> dg.TableSchema:
    """The columns of a table with types, meaning and constraints.

    Raises:
        UnknownTableError: `schema.sql` defines no table of that name.
    """
    schema = table_schema(table)
    key = ", ".join(schema.primary_key)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=not column.is_required, unique=schema.primary_key == (column.name,)
                ),
            )
            for column in schema.columns
        ],
        constraints=dg.TableConstraints(other=[f"primary key ({key})"]),
    )


def table_metadata(table: str) -> dict[str, Any]:
    """The metadata of an asset's definition whose rows are a table of the warehouse.

    Raises:
        UnknownTableError: `schema.sql` defines no table of that name.
    """
    return {"dagster/column_schema": column_schema(table), "dagster/table_name": table}


def file_paths(warehouse: Warehouse, table: str, shard: str) -> dict[str, dg.PathMetadataValue]:
    """Return the Parquet files of a shard in a table, by partition, with a button that copies."""
    return {
        f"file: {info.name}": dg.MetadataValue.path(str(info.path))
        for info in warehouse.partitions(table, shard)
        if info.path
    }


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any, width: int) -> str:
    text = " ".join(cell_text(value).split())
    if len(text) > width:
        text = text[: width - 1].rstrip() + "…"
    return _MARKUP.sub(r"\\\1", text.replace("&", "&amp;"))


def cell_text(value: Any) -> str:
    """A value as a person reads it in a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
