"""Looks up a record's values by column name; dots reach into objects, as in `metadata.url`."""

from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 3
"""Number of nested levels whose keys become column names."""


class _Missing:
    pass


MISSING: Any = _Missing()
"""Returned for a column that the record does not have; a null value is returned as None."""


def value_at(row: object, name: str) -> Any:
    """Return the value of a column, or MISSING; a key equal to the whole name takes precedence.

    Example:
        >>> value_at({"a": {"b": 2}, "a.b": 1}, "a.b")
        1
        >>> value_at({"meta": {"url": "https://a.org"}}, "meta.url")
        'https://a.org'
    """
    if not isinstance(row, Mapping):
        return MISSING
    if name in row:
        return row[name]
    end = len(name)
    while (end := name.rfind(".", 0, end)) >= 0:
        if (outer := row.get(name[:end], MISSING)) is not MISSING:
            if outer is None:
                return None
            if (value := value_at(outer, name[end + 1 :])) is not MISSING:
                return value
    return MISSING


def column_names(row: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    """Yield the names by which `value_at` finds the values of a record, down to MAX_DEPTH."""
    for key, value in row.items():
        if isinstance(value, Mapping) and value and depth < MAX_DEPTH:
            yield from (f"{key}.{name}" for name in column_names(value, depth + 1))
        else:
            yield key
