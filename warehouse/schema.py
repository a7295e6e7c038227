"""Reads tables, columns, descriptions and keys from `schema.sql`.

Regular expressions parse the file, so descriptions load without DuckDB. Tests compare the result
with the tables that DuckDB creates from the same file.
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
"""Name of a shard's only partition, and the shard key of tables that are not cut by shard."""

_TABLE = re.compile(
    r"((?:^--.*\n)+)create table (\w+) \((  -- not cut by shard)?\n"
    r"((?:.+\n)+?) {4}primary key \((.+)\),?\n(?:.+\n)*?\);",
    re.MULTILINE,
)
_COLUMN = re.compile(r"^ {4}(\w+) (struct\(.+?\)\[\]|\w+)( not null)?.*,  -- (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    name: str
    type: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class TableSchema:
    """A table; if `is_cross_shard`, its partitions are stored under `shard=all`."""

    name: str
    description: str
    columns: tuple[ColumnSchema, ...]
    primary_key: tuple[str, ...]
    create_statement: str
    is_cross_shard: bool

    @functools.cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @functools.cached_property
    def polars_schema(self) -> "pl.Schema":
        with temporary_tables() as connection:
            connection.execute(self.create_statement)
            return connection.table(self.name).pl().schema


@functools.cache
def sql_texts(folder: str = "") -> dict[str, str]:
    """Return the text of the SQL files in a folder of this package, such as `views`, by name."""
    # `importlib.resources` might find a home's folder `warehouse` on the Python path instead.
    files = sorted((Path(__file__).parent / folder).glob("*.sql"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


@functools.cache
def tables() -> dict[str, TableSchema]:
    """Return the tables by name.

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
    known = tables()
    if name not in known:
        hint = did_you_mean(name, known)
        raise UnknownTableError(
            f"There is no table '{name}'.{hint} Expected one of {', '.join(known)}."
        )
    return known[name]
