"""Reads `schema.sql`: tables, columns with types and descriptions, keys.

By regular expressions, so that descriptions load without DuckDB; the tests compare the result with
what DuckDB makes of the same file.
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

_TABLE = re.compile(
    r"((?:^--.*\n)+)create table (\w+) \((  -- not cut by shard)?\n"
    r"((?:.+\n)+?) {4}primary key \((.+)\),?\n(?:.+\n)*?\);",
    re.MULTILINE,
)
_COLUMN = re.compile(r"^ {4}(\w+) (struct\(.+?\)\[\]|\w+)( not null)?.*,  -- (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """One column: its name, SQL type and meaning."""

    name: str
    type: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class TableSchema:
    """One table: its columns in order, its key and the statement that creates it.

    Attributes:
        is_cross_shard: Whether the partitions lie under `shard=all`, not in a folder per shard.
    """

    name: str
    description: str
    columns: tuple[ColumnSchema, ...]
    primary_key: tuple[str, ...]
    create_statement: str
    is_cross_shard: bool

    @functools.cached_property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(column.name for column in self.columns)

    @functools.cached_property
    def polars_schema(self) -> "pl.Schema":
        """The columns as a Polars schema."""
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
    return {
        match[2]: TableSchema(
            name=match[2],
            description=" ".join(line.removeprefix("-- ") for line in match[1].splitlines()),
            columns=tuple(
                ColumnSchema(name, kind, bool(required), text)
                for name, kind, required, text in _COLUMN.findall(match[4])
            ),
            primary_key=tuple(match[5].split(", ")),
            create_statement=match[0].removeprefix(match[1]).replace("table", "temporary table", 1),
            is_cross_shard=bool(match[3]),
        )
        for match in _TABLE.finditer(sql_texts()["schema"])
    }


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
