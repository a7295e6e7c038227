"""Reads `schema.sql`: tables, columns with types and descriptions, keys.

Without DuckDB, so that descriptions alone load fast; the tests compare the result with what DuckDB
makes of the same file.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.names import did_you_mean
from warehouse.errors import UnknownTableError

if TYPE_CHECKING:
    import polars as pl

ALL = "all"
"""Name of a partition that is a shard's only one, and directory key of tables without shards."""

_CROSS_SHARD_TABLES = frozenset(
    {
        "prompts",
        "training_texts",
        "training_exclusions",
        "training_metrics",
        "evaluation_results",
        "score_intervals",
        "paired_differences",
    }
)

_TABLE = re.compile(r"((?:^--[^\n]*\n)+)create table (\w+) \(\n(.*?)^\);", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(
    r"^ {4}(?P<name>\w+) (?P<type>struct\([^()]*\)\[\]|[a-z]+)"
    r"(?P<required> not null)?(?: check \(.*\))?, +-- (?P<text>.+)$"
)
_KEY = re.compile(r"^ {4}primary key \(([^()]+)\),?$", re.MULTILINE)
# Of a struct: name and type.
FIELD = re.compile(r"(\w+) (\w+)")
# SQL types and their names in Polars.
_DTYPES = {
    "varchar": "String",
    "bigint": "Int64",
    "integer": "Int32",
    "double": "Float64",
    "boolean": "Boolean",
    "date": "Date",
}


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """One column: its name, SQL type and meaning."""

    name: str
    type: str
    is_required: bool
    description: str

    @property
    def dtype(self) -> "pl.DataType":
        """The Polars type."""
        return _dtype(self.type)


@dataclass(frozen=True)
class TableSchema:
    """One table: its columns in order, its key and the statement that creates it."""

    name: str
    description: str
    columns: tuple[ColumnSchema, ...]
    primary_key: tuple[str, ...]
    create_statement: str

    @property
    def is_cross_shard(self) -> bool:
        """Whether the table's partitions lie under `shard=all` instead of one folder per shard."""
        return self.name in _CROSS_SHARD_TABLES

    @functools.cached_property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(column.name for column in self.columns)

    @functools.cached_property
    def polars_schema(self) -> "pl.Schema":
        """The columns as a Polars schema."""
        import polars as pl

        return pl.Schema({column.name: column.dtype for column in self.columns})


@functools.cache
def sql_texts(folder: str = "") -> dict[str, str]:
    """Returns the SQL files in a folder of this package, such as `views`, by name."""
    # Not by `importlib.resources`: a home on the Python path has a folder `warehouse` too.
    files = sorted((Path(__file__).parent / folder).iterdir())
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
        for file in files
        if file.name.endswith(".sql")
    }


@functools.cache
def tables() -> dict[str, TableSchema]:
    """Returns every table of `schema.sql` by name, in the order of the file.

    Example:
        >>> tables()["documents"].primary_key
        ('document_id',)
    """
    found = _TABLE.finditer(sql_texts()["schema"])
    return {
        match[2]: _parse_table(match[2], match[1], match[3], match[0][len(match[1]) :])
        for match in found
    }


def table_schema(name: str) -> TableSchema:
    """Returns one table.

    Raises:
        UnknownTableError: `schema.sql` defines no table of that name.
    """
    known = tables()
    if name not in known:
        hint = did_you_mean(name, known)
        raise UnknownTableError(f"Unknown table '{name}'.{hint} Available: {', '.join(known)}.")
    return known[name]


def _parse_table(name: str, comment: str, body: str, statement: str) -> TableSchema:
    described, keys = _KEY.split(body, maxsplit=1)[:2]
    columns = []
    for line in described.splitlines():
        match = _COLUMN.match(line)
        if match is None:
            raise ValueError(f"In table '{name}' of schema.sql a line is no column: {line!r}.")
        is_required = match["required"] is not None
        columns.append(ColumnSchema(match["name"], match["type"], is_required, match["text"]))
    return TableSchema(
        name=name,
        description=" ".join(line.removeprefix("--").strip() for line in comment.splitlines()),
        columns=tuple(columns),
        primary_key=tuple(part.strip().strip('"') for part in keys.split(",")),
        create_statement=statement.replace("create table", "create temporary table", 1),
    )


@functools.cache
def _dtype(sql_type: str) -> "pl.DataType":
    import polars as pl

    if sql_type.startswith("struct("):
        return pl.List(
            pl.Struct({field: _dtype(kind) for field, kind in FIELD.findall(sql_type[7:])})
        )
    return getattr(pl, _DTYPES[sql_type])()
