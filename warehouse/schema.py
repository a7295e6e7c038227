"""Reads `schema.sql`: tables, columns with types and descriptions, keys.

Without DuckDB, so that descriptions alone load fast; the tests compare the result with what DuckDB
makes of the same file.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.files.names import did_you_mean
from warehouse.errors import SchemaError, UnknownTableError

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
        "labels",
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
        """The Polars type.

        Raises:
            SchemaError: There is none for the SQL type.
        """
        return _dtype(self.type)


@dataclass(frozen=True, slots=True)
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

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def polars_schema(self) -> "pl.Schema":
        """The columns as a Polars schema."""
        import polars as pl

        return pl.Schema({column.name: column.dtype for column in self.columns})

    def column(self, name: str) -> ColumnSchema:
        """Returns one column.

        Raises:
            KeyError: The table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


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

    Raises:
        SchemaError: The file does not have the form its header comment describes.

    Example:
        >>> tables()["documents"].primary_key
        ('document_id',)
    """
    return parse_schema(sql_texts()["schema"])


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


def parse_schema(text: str) -> dict[str, TableSchema]:
    """Reads the tables from text in the form of `schema.sql`.

    Raises:
        SchemaError: A table has no key or a line of it has another form than a described column.
    """
    tables = {
        match[2]: _parse_table(match[2], match[1], match[3], match[0][len(match[1]) :])
        for match in _TABLE.finditer(text)
    }
    count = len(re.findall(r"^create table", text, re.MULTILINE))
    if len(tables) != count:
        raise SchemaError(
            f"schema.sql has {count} tables but only {len(tables)} are described: "
            "put a line of comment right above each `create table`."
        )
    return tables


def _parse_table(name: str, comment: str, body: str, statement: str) -> TableSchema:
    key = _KEY.search(body)
    if key is None:
        raise SchemaError(f"Table '{name}' of schema.sql has no `primary key (…)` line; add one.")
    columns = []
    for line in body[: key.start()].splitlines():
        match = _COLUMN.match(line)
        if match is None:
            raise SchemaError(
                f"Table '{name}' of schema.sql has a line that is no described column: "
                f"{line.strip()!r}. Expected: name type [not null] …,  -- description."
            )
        columns.append(
            ColumnSchema(
                name=match["name"],
                type=match["type"],
                is_required=match["required"] is not None,
                description=match["text"],
            )
        )
    return TableSchema(
        name=name,
        description=" ".join(line.removeprefix("--").strip() for line in comment.splitlines()),
        columns=tuple(columns),
        primary_key=tuple(part.strip().strip('"') for part in key[1].split(",")),
        create_statement=statement.replace("create table", "create temporary table", 1),
    )


@functools.cache
def _dtype(sql_type: str) -> "pl.DataType":
    import polars as pl

    if sql_type.startswith("struct("):
        return pl.List(
            pl.Struct({field: _dtype(kind) for field, kind in FIELD.findall(sql_type[7:])})
        )
    if sql_type not in _DTYPES:
        raise SchemaError(
            f"schema.sql uses the type '{sql_type}', which has no Polars type yet. "
            f"Known: {', '.join(_DTYPES)}; add it to `_DTYPES`."
        )
    return getattr(pl, _DTYPES[sql_type])()
