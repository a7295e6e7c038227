"""Values of a record by the name of a column, which may reach into objects: `metadata.url`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# A value takes up to 72 bytes of memory, however short it is written.
_MAX_VALUES = 3_000_000
MAX_DEPTH = 3
"""Objects in one another whose columns have names."""


class _Missing:
    pass


MISSING: Any = _Missing()
"""What stands for a value that a record does not have; an explicit null is None."""


def has_too_many_values(text: str) -> bool:
    """Whether a JSON text may hold more values than memory should; no text has as many."""
    return sum(map(text.count, "{[,")) > _MAX_VALUES


def value_at(row: object, name: str) -> Any:
    """The value of a column; MISSING where there is none.

    A key that is written like the whole name comes first. Otherwise dots reach into objects, and
    into text that is a JSON object.

    Example:
        >>> value_at({"meta": '{"url": "https://a.org"}', "a.b": 1}, "meta.url")
        'https://a.org'
        >>> value_at({"a": {"b": 2}, "a.b": 1}, "a.b")
        1
    """
    found = object_in(row)
    if found is None:
        return MISSING
    if name in found:
        return found[name]
    end = len(name)
    while (end := name.rfind(".", 0, end)) >= 0:
        if (outer := found.get(name[:end], MISSING)) is not MISSING:
            if outer is None:
                return None
            if (value := value_at(outer, name[end + 1 :])) is not MISSING:
                return value
    return MISSING


def object_in(value: object) -> Mapping[str, Any] | None:
    """An object, or the one that is written in a text as JSON; None for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] == "{" and not has_too_many_values(value):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def column_names(row: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    """The names by which `value_at` finds the values of a record, as deep as three objects."""
    for key, value in row.items():
        inner = object_in(value) if depth < MAX_DEPTH else None
        if inner:
            yield from (f"{key}.{name}" for name in column_names(inner, depth + 1))
        else:
            yield key
