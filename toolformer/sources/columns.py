"""Values of a record by the name of a column, which may reach into objects: `metadata.url`."""

from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 3
"""Depth of nested objects whose columns have names."""


class _Missing:
    pass


MISSING: Any = _Missing()
"""Stands for a value that a record does not have. An explicit null is None."""


def value_at(row: object, name: str) -> Any:
    """Return the value of a column, or MISSING.

    A key that equals the whole name comes first. Otherwise dots reach into objects.

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
