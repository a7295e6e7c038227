"""Every answer is worked out a second time, from nothing but the question and the current date."""

import calendar
import datetime
import re
from collections import Counter

import pytest

from toolformer.evaluation.benchmarks.dateset import FIRST_CURRENT_DATE, LAST_CURRENT_DATE, Dateset

MONTHS = list(calendar.month_name)
WEEKDAYS = list(calendar.day_name)
COUNTS = {
    "day_distance": 400,
    "past_part": 800,
    "future_part": 800,
    "weekday_of_date": 400,
    "relative_day": 4000,
    "holiday_part": 1800,
    "holiday_distance": 1200,
}
PART = r"(?P<part>weekday|day of the month|month|year)"
DISTANCE = "(?P<verb>have passed since|remain until)"
DATE = r"(?P<date>[A-Z][a-z]+ \d{1,2}, \d{4})"


def sample(count, seed=7):
    return list(Dateset(seed=seed, count=count).items())


def question(item):
    return item.bare_texts[0]


def combination(item):
    return item.item_id.rpartition("-")[0]


@pytest.fixture(scope="module")
def items():
    return sample(None)


@pytest.fixture(scope="module")
def by_kind(items):
    return {kind: [item for item in items if item.group == kind] for kind in COUNTS}


def read_date(text):
    month, day, year = re.fullmatch(r"(\w+) (\d+), (\d+)", text).groups()
    return datetime.date(int(year), MONTHS.index(month), int(day))


def shift_months(day, months):
    year, month = divmod(12 * day.year + day.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return datetime.date(year, month + 1, min(day.day, last))


def months_between(earlier, later):
    count = 0
    while shift_months(earlier, count + 1) <= later:
        count += 1
    return count


def named_part(day, part):
    ordinals = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    return {
        "weekday": (WEEKDAYS[day.weekday()],),
        "day of the month": (str(day.day), f"{day.day}{ordinals.get(day.day, 'th')}"),
        "month": (MONTHS[day.month],),
        "year": (str(day.year),),
    }[part]


def numbers(count):
    return (str(count), f"{count:,}") if count >= 1000 else (str(count),)


def nth_weekday(year, month, weekday, nth):
    days = [
        datetime.date(year, month, day)
        for day in range(1, calendar.monthrange(year, month)[1] + 1)
        if datetime.date(year, month, day).weekday() == weekday
    ]
    return days[nth]


HOLIDAYS = {
    "New Year's Day": lambda year: datetime.date(year, 1, 1),
    "Martin Luther King Jr. Day": lambda year: nth_weekday(year, 1, 0, 2),
    "Washington's Birthday": lambda year: nth_weekday(year, 2, 0, 2),
    "Memorial Day": lambda year: nth_weekday(year, 5, 0, -1),
    "Independence Day": lambda year: datetime.date(year, 7, 4),
    "Labor Day": lambda year: nth_weekday(year, 9, 0, 0),
    "Columbus Day": lambda year: nth_weekday(year, 10, 0, 1),
    "Veterans Day": lambda year: datetime.date(year, 11, 11),
    "Thanksgiving Day": lambda year: nth_weekday(year, 11, 3, 3),
    "Christmas Day": lambda year: datetime.date(year, 12, 25),
}


def test_the_counts_are_those_of_the_paper(items):
    assert Counter(item.group for item in items) == COUNTS
    assert len(items) == len({item.item_id for item in items}) == 9400
    assert len({(question(item), item.current_date) for item in items}) == len(items)
    assert set(Counter(combination(item) for item in items).values()) == {200}
    dates = {item.current_date for item in items}
    assert 490 < len(dates) <= 500
    assert FIRST_CURRENT_DATE <= min(dates) <= max(dates) <= LAST_CURRENT_DATE


def test_day_distances(by_kind):
    verbs = Counter()
    for item in by_kind["day_distance"]:
        asked = re.fullmatch(rf"How many days {DISTANCE} {DATE}\?", question(item))
        day = read_date(asked["date"])
        verbs[asked["verb"]] += 1
        assert (day < item.current_date) is (asked["verb"] == "have passed since")
        assert day != item.current_date
        assert months_between(*sorted((day, item.current_date))) <= 48
        assert item.gold == numbers(abs(day.toordinal() - item.current_date.toordinal()))
    assert verbs == {"have passed since": 200, "remain until": 200}


RELATIVE = {"two days ago": -2, "yesterday": -1, "today": 0, "tomorrow": 1, "in two days": 2}
HOLIDAY = rf"(?P<holiday>{'|'.join(HOLIDAYS)}) this year"
COUNT = r"(?P<count>\d+) (?P<unit>day|week|month|year)(?P<plural>s?)"
# Kinds of which a part of a day is asked for.
PART_KINDS = {
    "past_part": rf"Which {PART} was it {COUNT} ago\?",
    "future_part": rf"Which {PART} will it be {COUNT} from now\?",
    "weekday_of_date": rf"Which (?P<part>weekday) (?P<verb>is|was) {DATE}\?",
    "relative_day": rf"Which {PART} (?P<verb>is|was) it (?P<relative>{'|'.join(RELATIVE)})\?",
    "holiday_part": rf"(?P<preposition>On|In) which {PART} (?P<verb>is|was) {HOLIDAY}\?",
}


def day_asked_for(item, asked):
    today = item.current_date
    if "date" in asked:
        return read_date(asked["date"])
    if "holiday" in asked:
        return HOLIDAYS[asked["holiday"]](today.year)
    if "relative" in asked:
        return datetime.date.fromordinal(today.toordinal() + RELATIVE[asked["relative"]])
    count, unit = int(asked["count"]), asked["unit"]
    assert count >= 1
    assert (asked["plural"] == "s") is (count > 1)
    if item.group == "past_part":
        count = -count
    if unit in ("month", "year"):
        day = shift_months(today, count * {"month": 1, "year": 12}[unit])
        assert day.day == today.day
    else:
        days = count * {"day": 1, "week": 7}[unit]
        day = datetime.date.fromordinal(today.toordinal() + days)
    assert months_between(*sorted((day, today))) <= 48
    return day


@pytest.mark.parametrize("kind", PART_KINDS)
def test_parts_of_days_and_the_verb(by_kind, kind):
    verbs, units, holidays = Counter(), Counter(), set()
    for item in by_kind[kind]:
        asked = re.fullmatch(PART_KINDS[kind], question(item)).groupdict()
        day = day_asked_for(item, asked)
        assert item.gold == named_part(day, asked["part"])
        verbs[asked.get("verb")] += 1
        units[asked.get("unit")] += 1
        holidays.add(asked.get("holiday"))
        if "verb" in asked:
            assert asked["verb"] == ("was" if day < item.current_date else "is")
        if "preposition" in asked:
            assert asked["preposition"] == ("In" if asked["part"] == "month" else "On")
            assert asked["part"] != "year"
    if kind == "weekday_of_date":
        assert verbs == {"was": 200, "is": 200}
    if kind == "past_part":
        assert len(units) == 4
        assert min(units.values()) >= 100
    if kind == "future_part":
        assert set(units) == {"day"}
    if kind == "holiday_part":
        assert holidays == set(HOLIDAYS)


def test_distances_to_holidays(by_kind):
    counts = Counter()
    for item in by_kind["holiday_distance"]:
        asked = re.fullmatch(
            rf"How many full (?P<unit>days|weeks|months) {DISTANCE} {HOLIDAY}\?", question(item)
        )
        day = HOLIDAYS[asked["holiday"]](item.current_date.year)
        counts[asked["unit"], asked["verb"]] += 1
        assert day != item.current_date
        assert (day < item.current_date) is (asked["verb"] == "have passed since")
        earlier, later = sorted((day, item.current_date))
        days = later.toordinal() - earlier.toordinal()
        count = {"days": days, "weeks": days // 7, "months": months_between(earlier, later)}
        assert item.gold == (str(count[asked["unit"]]),)
    assert len(counts) == 6
    assert set(counts.values()) == {200}


def test_no_question_gives_its_current_date_away_or_keeps_an_open_slot(items):
    for item in items:
        assert not re.search(r"[{}_]", question(item))
        current = item.current_date
        assert f"{MONTHS[current.month]} {current.day}, {current.year}" not in question(item)
        assert item.prompt == f"Answer the following question: {question(item)}"


def test_the_questions_are_the_same_on_every_machine():
    item = sample(None, seed=0)[0]
    assert (item.item_id, item.current_date.isoformat(), question(item)) == (
        "dateset-day_distance-past-0000",
        "2019-06-28",
        "How many days have passed since January 13, 2018?",
    )


def test_a_sample_covers_all_kinds_in_order_and_without_repetition(items):
    assert {item.group for item in sample(7)} == set(COUNTS)
    few = sample(3 * 47)
    counts = Counter(combination(item) for item in few)
    assert len(counts) == 47
    assert set(counts.values()) == {3}
    assert few == sample(3 * 47)
    positions = [items.index(item) for item in few]
    assert positions == sorted(set(positions))
    assert sample(len(items)) == items
