"""Dagster metadata of warehouse tables: column schema, file paths, and a preview of the rows."""

import json
import re
from typing import Any

import dagster as dg
import polars as pl

from warehouse.schema import table_schema
from warehouse.warehouse import Warehouse

# Metadata key of `corpus_manifest`: the error of each source that could not be used, by path.
REJECTED_SOURCES = "rejected sources"

# Characters that Markdown, its tables or inline HTML read as markup. Corpus texts are full of them:
# brackets of calls, `<API>`, underscores.
_MARKUP = re.compile(r"([\\`*_\[\]<>|~])")


def table_markdown(
    frame: pl.DataFrame, *, rows: int = 5, width: int = 60
) -> dg.MarkdownMetadataValue:
    """Return a Markdown table of the first rows, with the number of rows not shown below it.

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
    """Return the columns of a table; raise `UnknownTableError` if `schema.sql` lacks it."""
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
    return {"dagster/column_schema": column_schema(table), "dagster/table_name": table}


def file_paths(warehouse: Warehouse, table: str, shard: str) -> dict[str, dg.PathMetadataValue]:
    """Return the Parquet files of a shard in a table, with one key per partition."""
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
    """Format a value for people: `–` for None, thousands separators, four significant digits."""
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
