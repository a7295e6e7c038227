"""Determines which tables' rows, catalogue entries and views a statement reads."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from graphlib import TopologicalSorter

from warehouse.connection import temporary_tables
from warehouse.counting import COUNTS, RELATION
from warehouse.schema import sql_texts, tables

METADATA_VIEW = "partition_metadata"
LABELS = "labels"
"""View of human judgements; it reads `labels.jsonl`, not a partition."""

_RELATIONS = {name: RELATION.findall(text) for name, text in sql_texts("views").items()}
STATISTICS_VIEWS = tuple(
    name for name in TopologicalSorter(_RELATIONS).static_order() if name in _RELATIONS
)
"""Views in `views/`, each after the views that it reads."""

_VIEWS = frozenset((*COUNTS, *STATISTICS_VIEWS))
# Table functions, which appear among the relations of a statement but read no table.
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
    """Tables, catalogue entries and views that a statement reads.

    Attributes:
        rows: Tables whose rows are read.
        published: Tables whose entries in catalogues are read.
        views: Names in `COUNTS` and `STATISTICS_VIEWS`.
    """

    rows: frozenset[str]
    published: frozenset[str]
    views: frozenset[str]

    @property
    def tables(self) -> frozenset[str]:
        return self.rows | self.published

    @property
    def is_counts_only(self) -> bool:
        return not self.rows and self.views <= counts_only_needs().views


def everything() -> Needs:
    return Needs(frozenset(tables()), frozenset(tables()), _VIEWS)


@functools.cache
def counts_only_needs() -> Needs:
    """Return the needs of all views that can be answered with stored counts only."""
    needs = map(_needs_of_names, ({name} for name in _VIEWS))
    counts = (of.views for of in needs if not of.rows | of.views & {METADATA_VIEW, LABELS})
    return Needs(frozenset(), frozenset(COUNTS.values()), frozenset().union(*counts))


def needs_of(sql: str) -> Needs:
    """Return what a statement reads, directly or through views.

    Example:
        >>> sorted(needs_of("select count(*) from stage_costs").rows)
        ['stage_costs']
        >>> sorted(needs_of("select 1").tables)
        []
    """
    # A statement needs everything if it reads DuckDB's own catalogue, names relations in strings
    # (`from query('…')`), or names an unknown relation, so that DuckDB can suggest a similar name.
    nodes, names = parsed(sql)
    known = names <= _VIEWS | tables().keys()
    return _needs_of_names(names) if nodes and known else everything()


@functools.lru_cache(maxsize=1024)
def parsed(sql: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return kinds of queries (`SELECT_NODE`, …) and relations; both are empty if not a select."""
    with temporary_tables() as connection:
        [(types, names, ctes)] = connection.execute(_SYNTAX, {"sql": sql}).fetchall()
    # A `with` clause may have the name of a table that it reads.
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
