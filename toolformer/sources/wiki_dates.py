"""Templates of the English Wikipedia that show a date."""

import datetime
from collections.abc import Callable, Mapping, Sequence

from toolformer.base.constants import MONTHS

_MONTHS = {
    key: name
    for number, name in enumerate(MONTHS, 1)
    for key in (name.lower(), name[:3].lower(), f"{number}", f"{number:02}")
}
_YES = frozenset({"y", "yes", "1", "true", "on"})
# How one date is written. With any other parameter, something else than this date may be shown.
_OF_DATES = frozenset({"df", "mf", "br", "paren", "p", "lc", "url", "since"})


def shown_date(date: Sequence[str], *, is_day_first: bool) -> str | None:
    """A year, month and day, of which the last two may be missing; None if it is no date.

    Example:
        >>> shown_date(["1902", "5", "17"], is_day_first=False)
        'May 17, 1902'
        >>> shown_date(["1902", "may"], is_day_first=True)
        'May 1902'
    """
    year, month, day = (*date, "", "")[:3]
    if not 1 <= len(date) <= 3 or not (year.isdecimal() and len(year) <= 4):
        return None
    if not month:
        return year if not day else None
    name = _MONTHS.get(month.lower())
    if name is None:
        return None
    if not day:
        return f"{name} {year}"
    if not day.isdecimal() or not 1 <= int(day) <= 31:
        return None
    return f"{int(day)} {name} {year}" if is_day_first else f"{name} {int(day)}, {year}"


def _date(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    if not _OF_DATES.issuperset(named):
        return None
    return shown_date(positional, is_day_first=named.get("df", "").lower() in _YES)


def _years_between(first: Sequence[str], last: Sequence[str]) -> int | None:
    """Full years from one day to another; None where one of them is no day."""
    try:
        born, died = (datetime.date(*map(int, day)) for day in (first, last))
    except (TypeError, ValueError):
        return None
    years = died.year - born.year - ((died.month, died.day) < (born.month, born.day))
    return years if years >= 0 else None


def _death_with_age(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    age = _years_between(positional[3:], positional[:3])
    date = _date(positional[:3], named)
    return None if age is None or date is None else f"{date} (aged {age})"


def _death_year_with_age(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    if named or len(positional) != 2 or not all(year.isdecimal() for year in positional):
        return None
    age = int(positional[0]) - int(positional[1])
    return f"{positional[0]} (aged {age - 1}–{age})"


def _age(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    # Without a second day it grows with time.
    age = None if named else _years_between(positional[:3], positional[3:])
    return None if age is None else str(age)


def _as_of(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    if named.get("alt"):
        return named["alt"]
    date = shown_date(positional, is_day_first=named.get("df", "").lower() != "us")
    if date is None or not _OF_DATES.issuperset(named):
        return None
    words = "Since" if named.get("since") else "As of"
    return f"{words.lower() if named.get('lc') else words} {date}"


DATE_TEMPLATES: Mapping[str, Callable[[Sequence[str], Mapping[str, str]], str | None]] = {
    **dict.fromkeys(("birth date", "birthdate", "dob", "birth date and age", "bda"), _date),
    **dict.fromkeys(("death date", "start date", "start date and age", "end date"), _date),
    **dict.fromkeys(("death date and age", "dda"), _death_with_age),
    "death year and age": _death_year_with_age,
    **dict.fromkeys(("age", "age in years"), _age),
    **dict.fromkeys(("as of", "asof"), _as_of),
}
