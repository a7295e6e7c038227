"""Counts of a partition's rows, taken when it is written and stored in its shard's catalogue.

Statistics of any number of rows then cost no more than reading the catalogues. Each file of
`counts/` counts the rows of one table; the view of the same name reads these counts from the
relation `published` (`relations.py`).
"""

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from toolformer.base.digests import hex_digest
from warehouse.catalogue import Entry
from warehouse.connection import sql_literal, sql_name, temporary_tables
from warehouse.damage import verify
from warehouse.schema import sql_texts, tables

if TYPE_CHECKING:
    import duckdb

_COMMENT = re.compile(r"--.*")
# What a file of ours selects from.
RELATION = re.compile(r"\b(?:from|join) (\w+)")
COUNTS = {
    name: next(word for word in RELATION.findall(text) if word in tables())
    for name, text in sql_texts("counts").items()
}
"""Names of the files in `counts/`, with the table whose rows each counts."""


@functools.cache
def counts_version() -> str:
    """Return a digest of the SQL of all counts, to tell older counts from those taken now."""
    texts = {name: _COMMENT.sub("", text) for name, text in sql_texts("counts").items()}
    return hex_digest(json.dumps(texts), size=8)


def recounted(folder: Path, shard: str, entry: Entry) -> Entry:
    """Return a partition with counts taken from its file.

    Raises:
        DamagedPartitionError: The file is damaged or missing.
    """
    counts = {}
    if entry.rows:
        verify(folder, shard, entry)
        file = sql_literal(f"{folder}/{entry.path(shard)}")
        with temporary_tables() as connection:
            connection.execute(
                f"create temporary view {sql_name(entry.table)} as "
                f"from read_parquet({file}, hive_partitioning = false)"
            )
            counts = counts_of(connection, entry.table).get(shard, {})
    content = msgspec.Raw(msgspec.json.encode(counts))
    return msgspec.structs.replace(entry, counts=content, counted_by=counts_version())


def counts_of(connection: "duckdb.DuckDBPyConnection", table: str) -> dict[str, Any]:
    """Count the rows of a table: by shard and the names of `counts/`, lists of rows."""
    statements = (
        f"select {sql_literal(name)}, coalesce(to_json(list(counted)), '[]')::varchar "
        f"from ({text}) as counted"
        for name, text in sql_texts("counts").items()
        if COUNTS[name] == table
    )
    # Together they take two thirds of the time.
    together = " union all ".join(statements)
    counted: dict[str, Any] = {}
    for name, counts in connection.execute(together).fetchall() if together else ():
        for count in json.loads(counts):
            counted.setdefault(count["shard"], {}).setdefault(name, []).append(count)
    return counted


def counted_relation(name: str) -> str:
    """Return the SQL that selects counts from `published`."""
    return (
        "select counted.* from (select unnest((counts -> "
        f"{sql_literal('$.' + name)})::{type_of_counts(name)}) as counted from published "
        f"where table_name = {sql_literal(COUNTS[name])})"
    )


@functools.cache
def type_of_counts(name: str) -> str:
    """Return the SQL type of counts: a list of structs."""
    with temporary_tables() as connection:
        connection.execute(tables()[COUNTS[name]].create_statement)
        statement = f"select typeof(list(counted)) from ({sql_texts('counts')[name]}) as counted"
        return connection.execute(statement).fetchall()[0][0]
