"""Reads JSON files that this package writes."""

from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

_T = TypeVar("_T")


def read_dataclass(file: Path, kind: type[_T]) -> _T:
    """Read a dataclass from a JSON object; raise ValueError if a field is missing or invalid."""
    content = from_json(file.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    names = [each.name for each in fields(kind)]  # pyright: ignore[reportArgumentType]
    if missing := [name for name in names if name not in content]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
