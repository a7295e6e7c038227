"""Publication dates as sources write them, to calendar dates."""

import datetime
import re

_COMPLETE_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}(?!\d)|\d{4}-W\d{2}-\d|\d{4}-\d{3}(?!\d)")
_YEAR_FIRST = re.compile(r"\s*\d{4}")
_LONGEST_DATE = 64
# Two different completions of an incomplete date: where they show, the date was incomplete.
_DEFAULTS = (datetime.datetime(2000, 1, 1), datetime.datetime(2001, 2, 2))


def parse_publication_date(value: object) -> datetime.date | None:
    """Reads a date as sources write it.

    ISO 8601 is tried first, then the forms people use. The day is the one that is written: a time
    zone does not move it. What is incomplete (`2013`, `Friday`), has a two-digit year, or could
    be two days (`03/04/2013`) is no date, since a guessed date would teach a false one.

    Args:
        value: text, or a number such as 20130918, a date, a datetime.

    Returns:
        The date, or None where there is none to be read.

    Example:
        >>> parse_publication_date("18 September 2013")
        datetime.date(2013, 9, 18)
        >>> parse_publication_date("03/04/2013") is None
        True
    """
    from dateutil import parser

    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < 10**8 else ""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_DATE:
        return None
    text = value.strip()
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
