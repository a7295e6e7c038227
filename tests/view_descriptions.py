"""What counts and statistics views mean, by the comment on top of their file."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

_COLUMNS = "Columns:"
_CONTINUED = " " * 5


@dataclass(frozen=True, slots=True)
class ViewDescription:
    """What a view gives: a description, and one of each of its columns by name, in order."""

    description: str
    columns: Mapping[str, str]


def parse_view_description(text: str) -> ViewDescription:
    r"""Reads the comment on top of a view's SQL.

    Args:
        text: Text of the view. Behind the line `-- Columns:` each column has a line of its own, and
            a long description goes on in lines that are indented further.

    Example:
        >>> parse_view_description("-- Calls.\n--\n-- Columns:\n--   tool: its name\nselect 1")
        ViewDescription(description='Calls.', columns={'tool': 'its name'})
    """
    lines = [
        line.removeprefix("--")
        for line in takewhile(lambda line: line.startswith("--"), text.splitlines())
    ]
    about = [line.strip() for line in takewhile(lambda line: line.strip() != _COLUMNS, lines)]
    columns: dict[str, str] = {}
    for line in lines[len(about) + 1 :]:
        if line.startswith(_CONTINUED):
            columns[next(reversed(columns))] += f" {line.strip()}"
        else:
            name, _, meaning = line.strip().partition(": ")
            columns[name] = meaning
    return ViewDescription(" ".join(filter(None, about)), columns)
