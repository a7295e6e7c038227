"""Finds out what a statement reads: rows of tables, entries of catalogues, and views over these."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from graphlib import TopologicalSorter

from warehouse.connection import temporary_tables
from warehouse.counting import COUNTS, RELATION
from warehouse.schema import sql_texts, tables

METADATA_VIEW = "partition_metadata"
"""The view of the metadata that partitions were published with."""

LABELS = "labels"
"""The view of people's judgements, which are stored in a file of their own."""

_RELATIONS = {name: RELATION.findall(text) for name, text in sql_texts("views").items()}
STATISTICS_VIEWS = tuple(
    name for name in TopologicalSorter(_RELATIONS).static_order() if name in _RELATIONS
)
"""Names of the views in `views/`, each after those that it selects from."""

_VIEWS = frozenset((*COUNTS, *STATISTICS_VIEWS))
# Table functions that read no table.
_GENERATORS = frozenset({"unnest", "range", "generate_series"})
_SYNTAX = """
    select
        tree ->> '$..type',
        (tree ->> '$..table_name') || (tree ->> '$..function.function_name'),
        tree ->> '$..cte_map.map[*].key'
    from (select json_serialize_sql($sql::varchar)::json as tree)
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a statement reads.

    Attributes:
        rows: tables whose rows are read.
        published: tables whose entries in the catalogues are read.
        views: names of `COUNTS` and `STATISTICS_VIEWS`.
    """

    rows: frozenset[str]
    published: frozenset[str]
    views: frozenset[str]

    @property
    def tables(self) -> frozenset[str]:
        """All tables of which anything is read."""
        return self.rows | self.published

    @property
    def are_counts(self) -> bool:
        """Whether only counts are read."""
        return not self.rows and self.views <= of_counts().views


def everything() -> Needs:
    """Return all tables and views."""
    return Needs(frozenset(tables()), frozenset(tables()), _VIEWS)


@functools.cache
def of_counts() -> Needs:
    """Return the views that counts in catalogues answer, without any rows."""
    needs = map(_needs_of_names, ({name} for name in _VIEWS))
    counts = (of.views for of in needs if not of.rows | of.views & {METADATA_VIEW, LABELS})
    return Needs(frozenset(), frozenset(COUNTS.values()), frozenset().union(*counts))


def needs_of(sql: str) -> Needs:
    """Return what a statement reads, directly or through views.

    A statement needs everything if it asks for DuckDB's own catalogue, names relations in strings
    (`from query('…')`), or names an unknown one, for which DuckDB then suggests another.

    Example:
        >>> sorted(needs_of("select count(*) from stage_costs").rows)
        ['stage_costs']
        >>> sorted(needs_of("select 1").tables)
        []
    """
    nodes, names = parsed(sql)
    known = names <= _VIEWS | tables().keys()
    return _needs_of_names(names) if nodes and known else everything()


@functools.lru_cache(maxsize=1024)
def parsed(sql: str) -> tuple[frozenset[str], frozenset[str]]:
    """Parse a statement with DuckDB.

    Returns:
        The kinds of its queries, such as `SELECT_NODE`, and the relations that it reads. Both are
        empty if it is no select statement.
    """
    with temporary_tables() as connection:
        [(types, names, ctes)] = connection.execute(_SYNTAX, {"sql": sql}).fetchall()
    # A `with` clause may read the table that it is named like.
    defined = set(map(str.lower, ctes)) - _VIEWS - tables().keys()
    nodes = frozenset(name for name in types if name.endswith("_NODE"))
    return nodes, frozenset(map(str.lower, names)) - defined - _GENERATORS


def _needs_of_names(names: Collection[str]) -> Needs:
    found = set(names)
    for view in reversed(STATISTICS_VIEWS):
        if view in found:
            found.update(_RELATIONS[view])
    rows = frozenset(found & tables().keys())
    published = frozenset(COUNTS[name] for name in found & COUNTS.keys())
    if METADATA_VIEW in found:
        published |= tables().keys() if METADATA_VIEW in names else rows
    return Needs(rows, published, _VIEWS & found)
