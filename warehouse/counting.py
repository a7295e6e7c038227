"""Counts of a partition's rows: taken when it is written, and kept in its footer.

A footer is a few kilobytes, so statistics of any number of rows cost no more than opening the
files. Counts are published with their rows, as one file. Each file of `counts/` is one relation:
over the rows of a table it gives the counts, and views of the same name read them from footers.
"""

import functools
import re
from typing import TYPE_CHECKING

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

_DIGEST_CHARACTERS = 32


def footer_entries(connection: "duckdb.DuckDBPyConnection", table: str) -> dict[str, str]:
    """Counts the rows of a table and returns the entries of a partition's footer, by key."""
    # Footers are read without the rows, so counts have a digest of their own.
    statements = (
        f"select {sql_literal(_key(name))}, md5(counts) || counts from (select coalesce("
        f"to_json(list(counted)), '[]')::varchar as counts from ({text}) as counted)"
        for name, text in sql_texts("counts").items()
        if COUNTS[name] == table
    )
    # Together they take two thirds of the time.
    together = " union all ".join(statements)
    return dict(connection.execute(together).fetchall()) if together else {}


def from_footers(name: str, metadata: str) -> str:
    """Returns the SQL that selects counts from the footers of partitions.

    Args:
        metadata: SQL behind `from`: what the footers hold, by `file_name`, `key` and `value`.
    """
    return rows_of_lists(f"({lists_in_footers(name, metadata)})")


def rows_of_lists(lists: str) -> str:
    """Returns the SQL that selects counts from their lists."""
    return f"select counted.* from (select unnest(counted) as counted from {lists})"


def lists_in_footers(name: str, metadata: str) -> str:
    """Returns the SQL that selects each partition's counts as a list: `file_name`, `counted`."""
    start = _DIGEST_CHARACTERS + 1
    return f"""
        select
            file_name,
            case
                when stored is null then error(
                    'Partition ''' || file_name || ''' is not whole: its counts are missing. '
                    || 'Remove it, then run `toolformer build`.'
                )
                when left(stored, {_DIGEST_CHARACTERS}) <> md5(substring(stored, {start}))
                    then error('Partition ''' || file_name || ''' is damaged.')
                else substring(stored, {start})::json::{type_of_counts(name)}
            end as counted
        -- Every partition has metadata, so one without these counts is met here, too.
        from (
            select
                file_name,
                any_value(decode(value)) filter (where key = encode({sql_literal(_key(name))}))
                    as stored
            from (select * from {metadata})
            group by file_name
        )"""


@functools.cache
def type_of_counts(name: str) -> str:
    """Returns the SQL type that counts have in a footer: a list of structs."""
    with temporary_tables() as connection:
        connection.execute(tables()[COUNTS[name]].create_statement)
        columns = connection.execute("describe " + sql_texts("counts")[name]).fetchall()
    fields = ", ".join(f"{sql_name(column)} {kind}" for column, kind, *_ in columns)
    return f"struct({fields})[]"


def _key(name: str) -> str:
    return f"toolformer_{name}"
