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
from warehouse.connection import temporary_tables
from warehouse.errors import UnknownTableError

if TYPE_CHECKING:
    import polars as pl

ALL = "all"
"""Name of a partition that is a shard's only one, and directory key of tables without shards."""

_CROSS_SHARD_TABLES = frozenset(
    (
        *("prompts", "training_texts", "training_exclusions", "training_metrics"),
        *("evaluation_results", "score_intervals", "paired_differences"),
    )
)

_TABLE = re.compile(
    r"(?P<comment>(?:^--[^\n]*\n)+)create table (?P<name>\w+) (?P<body>\(\n.*?^\);)", re.M | re.S
)
_COLUMN = re.compile(
    r"^ {4}(?P<name>\w+) (?P<type>struct\([^()]*\)\[\]|[a-z]+)"
    r"(?P<required> not null)?(?: check \(.*\))?, +-- (?P<text>.+)$",
    re.M,
)
_KEY = re.compile(r"^ {4}primary key \(([^()]+)\)", re.M)


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """One column: its name, SQL type and meaning."""

    name: str
    type: str
    is_required: bool
    description: str


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
        """The columns as DuckDB gives them to Polars."""
        with temporary_tables() as connection:
            connection.execute(self.create_statement)
            return connection.table(self.name).pl().schema


@functools.cache
def sql_texts(folder: str = "") -> dict[str, str]:
    """Return the SQL files in a folder of this package, such as `views`, by name."""
    # Not by `importlib.resources`: a home on the Python path has a folder `warehouse` too.
    files = sorted((Path(__file__).parent / folder).glob("*.sql"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


@functools.cache
def tables() -> dict[str, TableSchema]:
    """Return every table of `schema.sql` by name, in the order of the file.

    Example:
        >>> tables()["documents"].primary_key
        ('document_id',)
    """
    return {each["name"]: _parsed(each) for each in _TABLE.finditer(sql_texts()["schema"])}


def table_schema(name: str) -> TableSchema:
    """Return one table.

    Raises:
        UnknownTableError: `schema.sql` defines no table of that name.
    """
    known = tables()
    if name not in known:
        hint = did_you_mean(name, known)
        raise UnknownTableError(f"Unknown table '{name}'.{hint} Available: {', '.join(known)}.")
    return known[name]


def _parsed(table: re.Match[str]) -> TableSchema:
    return TableSchema(
        name=table["name"],
        description=" ".join(re.findall(r"^-- (.+)", table["comment"], re.M)),
        columns=tuple(
            ColumnSchema(each["name"], each["type"], each["required"] is not None, each["text"])
            for each in _COLUMN.finditer(table["body"])
        ),
        primary_key=tuple(re.findall(r"\w+", _KEY.findall(table["body"])[0])),
        create_statement=f"create temporary table {table['name']} {table['body']}",
    )
