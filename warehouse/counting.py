"""Counts the rows of a partition when it is written; its shard's catalogue stores the counts.

Statistics are therefore computed from catalogues without reading rows. Each file in `counts/`
counts the rows of one table. In `warehouse.duckdb` a view of the same name reads the stored counts
(`relations.py`).
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
# Finds the relations that a SQL file of this package reads. It also matches comments, so no comment
# may name a table or view right after "from" or "join".
RELATION = re.compile(r"\b(?:from|join) (\w+)")
COUNTS = {
    name: next(word for word in RELATION.findall(text) if word in tables())
    for name, text in sql_texts("counts").items()
}
"""Table that each file in `counts/` counts, by the file's name."""


@functools.cache
def counts_version() -> str:
    """Return a digest of the SQL of all counts; counts with another digest are stale."""
    # Only the text of comments is removed, so the digest still depends on their number of lines.
    texts = {name: _COMMENT.sub("", text) for name, text in sql_texts("counts").items()}
    return hex_digest(json.dumps(texts), size=8)


def with_new_counts(folder: Path, shard: str, entry: Entry) -> Entry:
    """Return the entry with counts taken from its file, which is verified first."""
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
    """Count the rows of a table; return lists of result rows by shard and by name in `counts/`."""
    statements = (
        f"select {sql_literal(name)}, coalesce(to_json(list(counted)), '[]')::varchar "
        f"from ({text}) as counted"
        for name, text in sql_texts("counts").items()
        if COUNTS[name] == table
    )
    # One combined statement takes two thirds of the time of several.
    combined = " union all ".join(statements)
    counted: dict[str, Any] = {}
    for name, counts in connection.execute(combined).fetchall() if combined else ():
        for count in json.loads(counts):
            counted.setdefault(count["shard"], {}).setdefault(name, []).append(count)
    return counted


def counted_relation(name: str) -> str:
    return (
        "select counted.* from (select unnest((counts -> "
        f"{sql_literal('$.' + name)})::{type_of_counts(name)}) as counted from published "
        f"where table_name = {sql_literal(COUNTS[name])})"
    )


@functools.cache
def type_of_counts(name: str) -> str:
    with temporary_tables() as connection:
        connection.execute(tables()[COUNTS[name]].create_statement)
        statement = f"select typeof(list(counted)) from ({sql_texts('counts')[name]}) as counted"
        return connection.execute(statement).fetchall()[0][0]
