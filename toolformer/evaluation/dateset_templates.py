"""Defines the question templates of DATESET in our own words, with options and answers."""

import datetime
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import chain, product
from typing import Literal, NamedTuple

from dateutil.relativedelta import relativedelta

from toolformer.base.constants import MONTHS, WEEKDAYS

Unit = Literal["days", "weeks", "months", "years"]
DatePart = Literal["weekday", "day_of_month", "month", "year"]

# `relativedelta` clips the day to the end of a shorter month.
UNITS: Mapping[Unit, relativedelta] = {
    "days": relativedelta(days=1),
    "weeks": relativedelta(weeks=1),
    "months": relativedelta(months=1),
    "years": relativedelta(years=1),
}
# Federal holidays with the same name in all years of the range; Juneteenth has existed only since
# 2021. Splitting the year into thirds is our way to get nine combinations and to spread the
# holidays.
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

_PART_NAMES: dict[DatePart, str] = {
    "weekday": "weekday",
    "day_of_month": "day of the month",
    "month": "month",
    "year": "year",
}
_PART_PREPOSITIONS = {"weekday": "On", "day_of_month": "On", "month": "In"}
_RELATIVE_DAYS = {
    "two_days_ago": (-2, "was"),
    "yesterday": (-1, "was"),
    "today": (0, "is"),
    "tomorrow": (1, "is"),
    "in_two_days": (2, "is"),
}
_DIRECTIONS = ("past", "future")


class Moment(NamedTuple):
    """Presumed current date with one date before and one date after it."""

    current: datetime.date
    past: datetime.date
    future: datetime.date


class Query(NamedTuple):
    question: str
    gold: tuple[str, ...]


class Combination(NamedTuple):
    """Kind of question with chosen options.

    `build` takes a moment, the index of the query within the combination, and the options. The
    index varies choices that the options leave open. Returns None if the moment does not fit.
    """

    kind: str
    options: tuple[str, ...]
    build: Callable[..., Query | None]

    @property
    def name(self) -> str:
        return "-".join((self.kind, *self.options))


def _ask_day_distance(moment: Moment, _number: int, direction: str) -> Query:
    if direction == "past":
        day, question = moment.past, "How many days have passed since"
    else:
        day, question = moment.future, "How many days remain until"
    distance = abs((day - moment.current).days)
    return Query(f"{question} {written_date(day)}?", number_answers(distance))


def _ask_past_part(moment: Moment, number: int, part: DatePart) -> Query:
    # The distance to the past date is rounded down to whole units, so the question may ask for a
    # later date. A distance in days always works, since the past date is at least one day ago.
    units, first = tuple(UNITS), number % len(UNITS)
    steps = (_step_back(moment, unit) for unit in units[first:] + units[:first])
    distance, day = next(step for step in steps if step is not None)
    return Query(f"Which {_PART_NAMES[part]} was it {distance} ago?", part_answers(day, part))


def _step_back(moment: Moment, unit: Unit) -> tuple[str, datetime.date] | None:
    count = whole_units(unit, moment.past, moment.current)
    if count == 0:
        return None
    day = moment.current - count * UNITS[unit]
    # "One month before 31 March" is ambiguous, so such distances are not asked for.
    if unit in ("months", "years") and day.day != moment.current.day:
        return None
    return _counted(count, unit), day


def _ask_future_part(moment: Moment, _number: int, part: DatePart) -> Query:
    distance = _counted((moment.future - moment.current).days, "days")
    question = f"Which {_PART_NAMES[part]} will it be {distance} from now?"
    return Query(question, part_answers(moment.future, part))


def _ask_weekday(moment: Moment, _number: int, direction: str) -> Query:
    day, verb = (moment.past, "was") if direction == "past" else (moment.future, "is")
    return Query(f"Which weekday {verb} {written_date(day)}?", part_answers(day, "weekday"))


def _ask_relative_day(moment: Moment, _number: int, part: DatePart, relative_day: str) -> Query:
    offset, verb = _RELATIVE_DAYS[relative_day]
    question = f"Which {_PART_NAMES[part]} {verb} it {relative_day.replace('_', ' ')}?"
    return Query(question, part_answers(moment.current + datetime.timedelta(days=offset), part))


def _ask_holiday_part(moment: Moment, number: int, part: DatePart, third: str) -> Query:
    names = HOLIDAYS[third]
    holiday = names[number % len(names)]
    day = holiday_dates(moment.current.year)[holiday]
    verb = "was" if day < moment.current else "is"
    question = f"{_PART_PREPOSITIONS[part]} which {_PART_NAMES[part]} {verb} {holiday} this year?"
    return Query(question, part_answers(day, part))


def _ask_holiday_distance(moment: Moment, number: int, unit: Unit, direction: str) -> Query | None:
    current, is_past = moment.current, direction == "past"
    days = {
        holiday: day
        for holiday, day in holiday_dates(current.year).items()
        if (day < current if is_past else day > current)
    }
    if not days:
        return None
    holiday = list(days)[number % len(days)]
    words = "have passed since" if is_past else "remain until"
    return Query(
        f"How many full {unit} {words} {holiday} this year?",
        number_answers(whole_units(unit, *sorted((days[holiday], current)))),
    )


def _counted(count: int, unit: Unit) -> str:
    return f"{count} {unit if count != 1 else unit.removesuffix('s')}"


def written_date(day: datetime.date) -> str:
    """Return a date as the calendar tool writes it, but without the weekday: `May 3, 2024`."""
    return f"{MONTHS[day.month - 1]} {day.day}, {day.year}"


def whole_units(unit: Unit, earlier: datetime.date, later: datetime.date) -> int:
    if unit == "days":
        return (later - earlier).days
    if unit == "weeks":
        return (later - earlier).days // 7
    distance = relativedelta(later, earlier)
    return distance.years if unit == "years" else 12 * distance.years + distance.months


def part_answers(day: datetime.date, part: DatePart) -> tuple[str, ...]:
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
    """Return the number in digits and, from 1,000 on, also with thousands separators."""
    return tuple(dict.fromkeys((str(number), f"{number:,}")))


@lru_cache(maxsize=64)
def holiday_dates(year: int) -> Mapping[str, datetime.date]:
    """Return the dates of `HOLIDAYS`, ignoring substitute days for holidays on weekends."""
    import holidays

    calendar = holidays.country_holidays("US", years=year, observed=False, language="en_US")
    names = chain.from_iterable(HOLIDAYS.values())
    return {name: calendar.get_named(name, lookup="exact")[0] for name in names}


def _ordinal(number: int) -> str:
    if number in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


_KINDS: tuple[tuple[str, Callable[..., Query | None], tuple[Iterable[str], ...]], ...] = (
    ("day_distance", _ask_day_distance, (_DIRECTIONS,)),
    ("past_part", _ask_past_part, (_PART_NAMES,)),
    ("future_part", _ask_future_part, (_PART_NAMES,)),
    ("weekday_of_date", _ask_weekday, (_DIRECTIONS,)),
    ("relative_day", _ask_relative_day, (_PART_NAMES, _RELATIVE_DAYS)),
    ("holiday_part", _ask_holiday_part, (_PART_PREPOSITIONS, HOLIDAYS)),
    # A holiday of the same year is never a whole year away, so years are not asked for.
    ("holiday_distance", _ask_holiday_distance, (("days", "weeks", "months"), _DIRECTIONS)),
)
COMBINATIONS = tuple(
    Combination(kind, options, build)
    for kind, build, choices in _KINDS
    for options in product(*choices)
)
