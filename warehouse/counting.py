"""Counts of a partition's rows: taken when it is written, and kept in the catalogue of its shard.

So statistics of any number of rows cost no more than reading the catalogues. Each file of `counts/`
is one relation: over the rows of a table it gives the counts, and views of the same name read them
from the relation `published` (`relations.py`).
"""

import functools
import json
import re
from typing import TYPE_CHECKING, Any

from warehouse.connection import sql_literal, sql_name, temporary_tables
from warehouse.schema import sql_texts, tables

if TYPE_CHECKING:
    import duckdb

# What a file of ours selects from.
RELATION = re.compile(r"\b(?:from|join) (\w+)")
COUNTS = {
    name: next(word for word in RELATION.findall(text) if word in tables())
    for name, text in sql_texts("counts").items()
}
"""Names of the files in `counts/`, with the table whose rows each counts."""


def counts_of(
    connection: "duckdb.DuckDBPyConnection", table: str
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Counts the rows of a table: by shard and the names of `counts/`, lists of rows."""
    statements = (
        f"select {sql_literal(name)}, coalesce(to_json(list(counted)), '[]')::varchar "
        f"from ({text}) as counted"
        for name, text in sql_texts("counts").items()
        if COUNTS[name] == table
    )
    # Together they take two thirds of the time.
    together = " union all ".join(statements)
    rows = connection.execute(together).fetchall() if together else []
    counted: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, counts in rows:
        for count in json.loads(counts):
            of_shard = counted.setdefault(count["shard"], {name: [] for name, _ in rows})
            of_shard[name].append(count)
    return counted


def counted_relation(name: str) -> str:
    """Returns the SQL that selects counts from `published`."""
    return (
        "select counted.* from (select unnest((counts -> "
        f"{sql_literal('$.' + name)})::{_type_of_counts(name)}) as counted from published "
        f"where table_name = {sql_literal(COUNTS[name])})"
    )


@functools.cache
def _type_of_counts(name: str) -> str:
    """The SQL type of counts: a list of structs."""
    with temporary_tables() as connection:
        connection.execute(tables()[COUNTS[name]].create_statement)
        columns = connection.execute("describe " + sql_texts("counts")[name]).fetchall()
    fields = ", ".join(f"{sql_name(column)} {kind}" for column, kind, *_ in columns)
    return f"struct({fields})[]"
