"""What a statement reads: rows of tables, what catalogues say of them, and views over these."""

import functools
import re
from dataclasses import dataclass
from graphlib import TopologicalSorter

from warehouse.counting import COUNTS, RELATION
from warehouse.schema import sql_texts, tables

METADATA_VIEW = "partition_metadata"
"""The view of what is published with the partitions of the tables at hand."""

LABELS = "labels"
"""The view of people's judgements, which lie in a file of their own."""

STATISTICS_VIEWS = tuple(
    name
    for name in TopologicalSorter(
        {name: RELATION.findall(text) for name, text in sql_texts("views").items()}
    ).static_order()
    if name in sql_texts("views")
)
"""Names of the views in `views/`, each behind those that it selects from."""

_VIEWS = frozenset((*COUNTS, *STATISTICS_VIEWS))
_READ = re.compile(
    r'(?:\b(?:from|join|pivot|unpivot|summarize|table)\b|,)[\s(]*(?:"?main"?\.)?"?(\w+)'
)
_COMMENT = re.compile(r"--[^\n]*")
# `query` and `query_table` read what a text names.
_INTROSPECTION = re.compile(
    r"\bshow\b|\bdescribe\b|\bduckdb_|\binformation_schema\b|\bpg_|\bsqlite_"
    r'|\bquery(_table)?"?\s*\('
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a statement reads.

    Attributes:
        rows: tables whose rows are read.
        published: tables of whose partitions the catalogues are asked.
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
        """Whether these are counts alone."""
        return not self.rows and self.views <= of_counts().views


def everything() -> Needs:
    """Returns all there is."""
    names = frozenset(tables())
    return Needs(names, names, frozenset(_VIEWS))


@functools.cache
def of_counts() -> Needs:
    """Returns what can be told by counts alone."""
    needs = {name: needs_of(f"from {name}") for name in _VIEWS}
    views = (
        name for name, of in needs.items() if not of.rows and not of.views & {METADATA_VIEW, LABELS}
    )
    return Needs(frozenset(), frozenset(COUNTS.values()), frozenset(views))


def needs_of(sql: str) -> Needs:
    """Returns what a statement may read, directly or through a view.

    A name counts behind `from`, `join`, a comma and the like, outside of comments: too many views
    cost milliseconds, and of one too few DuckDB complains, so that `query` makes all. A statement
    that asks for DuckDB's own catalogue gets all.

    Example:
        >>> sorted(needs_of("select count(*) from stage_costs").rows)
        ['stage_costs']
        >>> sorted(needs_of("select 1").tables)
        []
    """
    text = _COMMENT.sub("", sql.lower())
    if _INTROSPECTION.search(text):
        return everything()
    words = frozenset(_READ.findall(text))
    views = words & _VIEWS
    rows = words & frozenset(tables())
    waiting = list(views)
    while waiting:
        inside = _relations_of_view(waiting.pop())
        rows |= inside & frozenset(tables())
        unread = (inside & _VIEWS) - views
        views |= unread
        waiting += unread
    published = frozenset(tables()) if METADATA_VIEW in words else frozenset()
    published |= {COUNTS[name] for name in views if name in COUNTS}
    published |= rows if METADATA_VIEW in views else frozenset()
    return Needs(rows, published, views)


@functools.cache
def _relations_of_view(name: str) -> frozenset[str]:
    """What a view selects from; counts stand in catalogues, so they need no other view."""
    return frozenset(() if name in COUNTS else RELATION.findall(sql_texts("views")[name]))
