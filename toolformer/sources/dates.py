"""Publication dates as sources write them, to calendar dates."""

import datetime
import re
from collections.abc import Mapping

from toolformer.base.constants import EARLIEST_DATE, LATEST_DATE

_COMPLETE_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}(?!\d)|\d{4}-W\d{2}-\d|\d{4}-\d{3}(?!\d)")
_YEAR_FIRST = re.compile(r"\s*\d{4}")
_NUMBER = re.compile(r"(\d+)(?:\.\d*)?")
# Two years, of which dateutil takes one for a time of day; or a day and something behind it that
# makes a range of it.
_YEAR = r"(?<![\d.:T])(?:1[5-9]|20)\d\d(?!\d)"
_RANGE = re.compile(rf"{_YEAR}.*{_YEAR}|\d{{4}}-?\d\d-?\d\d\s*(?:[/–—]|-\s|\.\.)")
_LONGEST_DATE = 64
# Two different completions of an incomplete date: where they show, the date was incomplete.
_DEFAULTS = (datetime.datetime(2000, 1, 1), datetime.datetime(2001, 2, 2))
# Seconds since 1970, from 1995 to the end of 2099. No number is in this range in two units, and one
# of 8, 12 or 14 digits that is a day on the calendar is in it in none.
_FIRST_SECOND, _END = 788_918_400, 4_102_444_800
_UNITS = (1, 10**3, 10**6, 10**9)
# By the number of digits.
_CALENDAR_FORMS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
# How MongoDB exports dates and long integers: {"$date": {"$numberLong": "1690876800000"}}.
_MONGODB_KEYS = ("$date", "$numberLong")


def parse_publication_date(value: object) -> datetime.date | None:
    """Read a date as sources write it.

    ISO 8601 is tried first, then the forms people use. The day is the one that is written: a time
    zone does not move it. What is incomplete (`2013`, `Friday`), has a two-digit year, or could
    be two days (`03/04/2013`) or is (`2013-09-18 - 2013-09-20`) is no date, since a guessed date
    would teach a false one. Nor is a day before 1995 or after 2099: Go writes 0001-01-01 for no
    date, others 1970-01-01 or 9999-12-31, and Thai, Persian and Islamic years look like ours.

    A number, also one written as text, is year, month and day (20130918, or with hours, minutes and
    seconds behind), or seconds, milliseconds, microseconds or nanoseconds since 1970, for a day in
    UTC. One that could be two days is no date.

    Args:
        value: text, a number, a date, a datetime, or a date as MongoDB exports it.

    Returns:
        The date, or None where there is none to be read.

    Example:
        >>> parse_publication_date("18 September 2013")
        datetime.date(2013, 9, 18)
        >>> parse_publication_date("03/04/2013") is None
        True
        >>> parse_publication_date(1379462400000)
        datetime.date(2013, 9, 18)
    """
    date = _parsed(value)
    return date if date and EARLIEST_DATE <= date <= LATEST_DATE else None


def _parsed(value: object) -> datetime.date | None:
    from dateutil import parser

    value = _plain(value)
    if isinstance(value, datetime.date):
        return value
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_DATE:
        return None
    text = value.strip()
    if number := _NUMBER.fullmatch(text):
        return _date_of_digits(number[1])
    if _RANGE.search(text):
        return None
    if _COMPLETE_DATE.match(text):
        try:
            return parser.isoparse(text).date()
        except (ValueError, OverflowError):
            pass
    try:
        # A year in front is followed by the month, everywhere; otherwise either may come first.
        readings = {
            parser.parse(text, default=default, ignoretz=True, dayfirst=day_first).date()
            for default in _DEFAULTS
            for day_first in ((False,) if _YEAR_FIRST.match(text) else (False, True))
        }
    except (ValueError, OverflowError, TypeError, AttributeError):
        return None
    date = readings.pop()
    return None if readings or f"{date.year:04d}" not in text else date


def _plain(value: object) -> object:
    """A date or text, where the value is another form of them."""
    for key in _MONGODB_KEYS:
        if isinstance(value, Mapping) and value.keys() == {key}:
            value = value[key]
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3f}" if 0 <= value < 10**20 else None
    return value


def _date_of_digits(digits: str) -> datetime.date | None:
    """The day of a number, if there is exactly one that it can be."""
    readings = set[datetime.date]()
    for unit in _UNITS:
        seconds = int(digits) // unit
        if _FIRST_SECOND <= seconds < _END:
            readings.add(datetime.datetime.fromtimestamp(seconds, datetime.UTC).date())
    if form := _CALENDAR_FORMS.get(len(digits)):
        try:
            date = datetime.datetime.strptime(digits, form).date()
        except ValueError:
            pass
        else:
            readings |= {date} if EARLIEST_DATE <= date <= LATEST_DATE else set()
    return readings.pop() if len(readings) == 1 else None
