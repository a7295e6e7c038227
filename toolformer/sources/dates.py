"""Parses publication dates in the many forms in which sources write them."""

import datetime
import re
from collections.abc import Mapping

from toolformer.base.constants import EARLIEST_DATE, LATEST_DATE

_COMPLETE_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}(?!\d)|\d{4}-W\d{2}-\d|\d{4}-\d{3}(?!\d)")
_YEAR_FIRST = re.compile(r"\s*\d{4}")
_NUMBER = re.compile(r"(\d+)(?:\.\d*)?")
# A range: two years (dateutil would read one of them as a time of day), or a day followed by a
# separator.
_YEAR = r"(?<![\d.:T])(?:1[5-9]|20)\d\d(?!\d)"
_RANGE = re.compile(rf"{_YEAR}.*{_YEAR}|\d{{4}}-?\d\d-?\d\d\s*(?:[/–—]|-\s|\.\.)")
_MAX_DATE_CHARACTERS = 64
# Two defaults for missing fields. If they lead to different dates, the date is incomplete.
_DEFAULTS = (datetime.datetime(2000, 1, 1), datetime.datetime(2001, 2, 2))
# Seconds since 1970, from 1995 to the end of 2099. A number lies in this range in at most one unit,
# and a calendar date of 8, 12 or 14 digits in none, so these cannot be confused.
_FIRST_SECOND, _END = 788_918_400, 4_102_444_800
_UNITS = (1, 10**3, 10**6, 10**9)
# Formats of calendar dates by number of digits.
_CALENDAR_FORMS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
# How MongoDB exports dates and long integers: {"$date": {"$numberLong": "1690876800000"}}.
_MONGODB_KEYS = ("$date", "$numberLong")


def parse_publication_date(value: object) -> datetime.date | None:
    """Parse a text, number, date, datetime or MongoDB date; return None if it is unclear.

    Returns the day as written, without converting time zones. Incomplete dates (`2013`, `Friday`),
    two-digit years, ambiguous dates (`03/04/2013`) and ranges (`2013-09-18 - 2013-09-20`) give
    None, since a wrong guess would teach false dates. Days before 1995 or after 2099 give None too;
    they are placeholders (0001-01-01, 1970-01-01, 9999-12-31) or Thai, Persian or Islamic years.

    A number, even if stored as text, is either a calendar date (20130918, or with hours, minutes
    and seconds) or a time since 1970 in seconds, milli-, micro- or nanoseconds, converted to UTC.

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
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_DATE_CHARACTERS:
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
        # After a leading year, the month precedes the day everywhere. Otherwise try both orders.
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
    """Convert numbers, datetimes and MongoDB's objects into a date or a text."""
    for key in _MONGODB_KEYS:
        if isinstance(value, Mapping) and value.keys() == {key}:
            value = value[key]
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3f}" if 0 <= value < 10**20 else None
    return value


def _date_of_digits(digits: str) -> datetime.date | None:
    """Return the day that a number encodes, or None unless exactly one reading is possible."""
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
