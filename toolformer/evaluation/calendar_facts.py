"""Facts about dates for DATESET: parts, distances, holidays, and how answers are written."""

import datetime
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from dateutil.relativedelta import relativedelta

from toolformer.ground.day_names import MONTHS, WEEKDAYS

Unit = Literal["days", "weeks", "months", "years"]
DatePart = Literal["weekday", "day_of_month", "month", "year"]

UNITS: tuple[Unit, ...] = ("days", "weeks", "months", "years")
# Federal holidays that bear one name in all years of the range; Juneteenth is one since 2021 only.
HOLIDAYS = {
    "january_to_april": ("New Year's Day", "Martin Luther King Jr. Day", "Washington's Birthday"),
    "may_to_august": ("Memorial Day", "Independence Day"),
    "september_to_december": (
        "Labor Day",
        "Columbus Day",
        "Veterans Day",
        "Thanksgiving Day",
        "Christmas Day",
    ),
}


def written_date(day: datetime.date) -> str:
    """A date as the calendar tool writes it, without the weekday.

    Example:
        >>> written_date(datetime.date(2024, 5, 3))
        'May 3, 2024'
    """
    return f"{MONTHS[day.month - 1]} {day.day}, {day.year}"


def whole_units(unit: Unit, earlier: datetime.date, later: datetime.date) -> int:
    """The whole days, weeks, months or years between two dates, rounded down.

    Example:
        >>> whole_units("months", datetime.date(2021, 1, 15), datetime.date(2021, 3, 14))
        1
    """
    if unit == "days":
        return (later - earlier).days
    if unit == "weeks":
        return (later - earlier).days // 7
    distance = relativedelta(later, earlier)
    return distance.years if unit == "years" else 12 * distance.years + distance.months


def go_back(day: datetime.date, count: int, unit: Unit) -> datetime.date:
    """The date some units before; the end of its month where that is too short for the day."""
    if unit in ("days", "weeks"):
        return day - datetime.timedelta(days=count * (7 if unit == "weeks" else 1))
    return day - relativedelta(months=count * (12 if unit == "years" else 1))


def part_answers(day: datetime.date, part: DatePart) -> tuple[str, ...]:
    """The accepted names of a part of a date.

    Example:
        >>> part_answers(datetime.date(2024, 5, 3), "day_of_month")
        ('3', '3rd')
    """
    match part:
        case "weekday":
            return (WEEKDAYS[day.weekday()],)
        case "day_of_month":
            return (str(day.day), _ordinal(day.day))
        case "month":
            return (MONTHS[day.month - 1],)
        case "year":
            return (str(day.year),)


def number_answers(number: int) -> tuple[str, ...]:
    """A number in digits, from 1,000 on with and without comma.

    Example:
        >>> number_answers(1204)
        ('1204', '1,204')
    """
    return tuple(dict.fromkeys((str(number), f"{number:,}")))


@lru_cache(maxsize=64)
def holiday_dates(year: int) -> Mapping[str, datetime.date]:
    """The dates of `HOLIDAYS` by name: the days themselves, also where a weekend moves the day off.

    Raises:
        LookupError: the holidays package does not know one of them by its name.
    """
    import holidays

    calendar = holidays.country_holidays("US", years=year, observed=False, language="en_US")
    dates: dict[str, datetime.date] = {}
    for name in (name for names in HOLIDAYS.values() for name in names):
        days = calendar.get_named(name, lookup="exact")
        if len(days) != 1:
            raise LookupError(
                f"The holidays package gives {len(days)} dates for {name!r} in {year}; expected "
                "one. Install the version of the lock file."
            )
        dates[name] = days[0]
    return MappingProxyType(dates)


def _ordinal(number: int) -> str:
    if number in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
