"""Losses: parts of records that do not reach the documents, counted by kind."""

from collections.abc import Iterable
from typing import Literal

# `unread_columns` is counted separately for each column.
LossKind = Literal[
    "dates",
    "addresses",
    "columns",
    "unread_columns",
    "encodings",
    "marks",
    "calls",
    "unread_marks",
    "markup",
]

_WORDS: dict[str, str] = {
    "dates": "dates that could not be read",
    "addresses": "addresses and titles that could not be read",
    "columns": "records without a named column",
    "unread_columns": "columns that are not read",
    "encodings": "texts with characters that were removed or could not be decoded",
    "marks": "marks of other tools in the text, which --strip-marks removes",
    "calls": "calls in the text, such as [Calculator(2 * 3) -> 6], which --strip-marks removes",
    "unread_marks": "calculation marks << >> that could not be read and stay in the text",
    "markup": "HTML tags, entities (&amp;) and misread characters (Ã©) in the text",
}
_SHOWN_COLUMNS = 20


def losses_in_words(losses: Iterable[tuple[str, str, int]]) -> list[tuple[str, int]]:
    """Describe losses, given as (kind, column, count); all unread columns share one description.

    Example:
        >>> losses_in_words([("dates", "", 3), ("unread_columns", "id", 5)])
        [('dates that could not be read', 3), ('columns that are not read: id', 1)]
    """
    counts, unread = list[tuple[str, int]](), list[str]()
    for kind, name, count in losses:
        if kind == "unread_columns":
            unread.append(name)
        else:
            counts.append((_WORDS[kind], count))
    if unread:
        more = ", …" if len(unread) > _SHOWN_COLUMNS else ""
        names = ", ".join(sorted(unread)[:_SHOWN_COLUMNS])
        counts.append((f"{_WORDS['unread_columns']}: {names}{more}", len(unread)))
    return counts
