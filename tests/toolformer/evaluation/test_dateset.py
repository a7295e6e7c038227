"""Every answer is worked out a second time, from nothing but the question and the current date."""

import calendar
import datetime
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.evaluation.benchmarks.dateset import (
    FIRST_CURRENT_DATE,
    LAST_CURRENT_DATE,
    Dateset,
)
from toolformer.evaluation.dateset_templates import UNITS, go_back, whole_units

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
    assert len(items) == 9400
    assert set(Counter(combination(item) for item in items).values()) == {200}


def test_ids_and_pairs_of_question_and_date_are_unique(items):
    assert len({item.item_id for item in items}) == len(items)
    assert len({(question(item), item.current_date) for item in items}) == len(items)


def test_current_dates_come_from_the_fixed_range_and_number_at_most_500(items):
    dates = {item.current_date for item in items}
    assert len(dates) <= 500
    assert len(dates) > 490
    assert min(dates) >= FIRST_CURRENT_DATE
    assert max(dates) <= LAST_CURRENT_DATE


def test_day_distances(by_kind):
    verbs = Counter()
    for item in by_kind["day_distance"]:
        match = re.fullmatch(
            rf"How many days (?P<verb>have passed since|remain until) {DATE}\?", question(item)
        )
        day = read_date(match["date"])
        verbs[match["verb"]] += 1
        assert (day < item.current_date) is (match["verb"] == "have passed since")
        assert day != item.current_date
        assert abs(months_between(*sorted((day, item.current_date)))) <= 48
        assert item.gold == numbers(abs(day.toordinal() - item.current_date.toordinal()))
    assert verbs == {"have passed since": 200, "remain until": 200}


def test_parts_of_past_dates(by_kind):
    units = Counter()
    for item in by_kind["past_part"]:
        match = re.fullmatch(
            rf"Which {PART} was it (?P<count>\d+) (?P<unit>day|week|month|year)(?P<s>s?) ago\?",
            question(item),
        )
        count, unit = int(match["count"]), match["unit"]
        units[unit] += 1
        assert count >= 1
        assert (match["s"] == "s") is (count > 1)
        if unit in ("day", "week"):
            ordinal = item.current_date.toordinal() - count * {"day": 1, "week": 7}[unit]
            day = datetime.date.fromordinal(ordinal)
        else:
            day = shift_months(item.current_date, -count * {"month": 1, "year": 12}[unit])
            assert day.day == item.current_date.day
        assert months_between(day, item.current_date) <= 48
        assert item.gold == named_part(day, match["part"])
    assert len(units) == 4
    assert min(units.values()) >= 100


def test_parts_of_future_dates(by_kind):
    for item in by_kind["future_part"]:
        match = re.fullmatch(
            rf"Which {PART} will it be (?P<count>\d+) (?P<unit>days?) from now\?", question(item)
        )
        count = int(match["count"])
        assert 1 <= count <= 4 * 365 + 1
        assert match["unit"] == ("day" if count == 1 else "days")
        day = datetime.date.fromordinal(item.current_date.toordinal() + count)
        assert item.gold == named_part(day, match["part"])


def test_weekdays_of_dates_and_their_verb(by_kind):
    verbs = Counter()
    for item in by_kind["weekday_of_date"]:
        match = re.fullmatch(rf"Which weekday (?P<verb>is|was) {DATE}\?", question(item))
        day = read_date(match["date"])
        verbs[match["verb"]] += 1
        assert match["verb"] == ("was" if day < item.current_date else "is")
        assert item.gold == named_part(day, "weekday")
    assert verbs == {"was": 200, "is": 200}


def test_relative_days_and_their_verb(by_kind):
    offsets = {"two days ago": -2, "yesterday": -1, "today": 0, "tomorrow": 1, "in two days": 2}
    for item in by_kind["relative_day"]:
        match = re.fullmatch(
            rf"Which {PART} (?P<verb>is|was) it (?P<day>{'|'.join(offsets)})\?", question(item)
        )
        offset = offsets[match["day"]]
        day = datetime.date.fromordinal(item.current_date.toordinal() + offset)
        assert match["verb"] == ("was" if offset < 0 else "is")
        assert item.gold == named_part(day, match["part"])


def test_parts_of_holidays_and_their_verb(by_kind):
    seen = set()
    for item in by_kind["holiday_part"]:
        match = re.fullmatch(
            rf"(?P<preposition>On|In) which {PART} (?P<verb>is|was) "
            rf"(?P<holiday>{'|'.join(HOLIDAYS)}) this year\?",
            question(item),
        )
        seen.add(match["holiday"])
        day = HOLIDAYS[match["holiday"]](item.current_date.year)
        assert match["verb"] == ("was" if day < item.current_date else "is")
        assert match["preposition"] == ("In" if match["part"] == "month" else "On")
        assert match["part"] != "year"
        assert item.gold == named_part(day, match["part"])
    assert seen == set(HOLIDAYS)


def test_distances_to_holidays(by_kind):
    counts = Counter()
    for item in by_kind["holiday_distance"]:
        match = re.fullmatch(
            r"How many full (?P<unit>days|weeks|months) (?P<verb>have passed since|remain until) "
            rf"(?P<holiday>{'|'.join(HOLIDAYS)}) this year\?",
            question(item),
        )
        day = HOLIDAYS[match["holiday"]](item.current_date.year)
        counts[match["unit"], match["verb"]] += 1
        assert day != item.current_date
        assert (day < item.current_date) is (match["verb"] == "have passed since")
        earlier, later = sorted((day, item.current_date))
        days = later.toordinal() - earlier.toordinal()
        count = {"days": days, "weeks": days // 7, "months": months_between(earlier, later)}
        assert item.gold == (str(count[match["unit"]]),)
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


def test_a_small_sample_covers_all_kinds_and_a_larger_one_all_combinations():
    assert {item.group for item in sample(7)} == set(COUNTS)
    counts = Counter(combination(item) for item in sample(3 * 47))
    assert len(counts) == 47
    assert set(counts.values()) == {3}


def test_a_sample_is_deterministic_without_repetition_and_in_order(items):
    few = sample(100)
    assert few == sample(100)
    positions = [items.index(item) for item in few]
    assert positions == sorted(set(positions))
    assert len(positions) == 100
    assert sample(len(items)) == items


days = st.dates(datetime.date(1990, 1, 1), datetime.date(2040, 12, 31))


@pytest.mark.parametrize(
    ("unit", "earlier", "later", "count"),
    [
        ("weeks", (2021, 3, 1), (2021, 3, 14), 1),
        ("weeks", (2021, 3, 1), (2021, 3, 15), 2),
        ("months", (2020, 12, 25), (2021, 1, 24), 0),
        ("months", (2020, 12, 25), (2022, 1, 25), 13),
        ("years", (2020, 2, 29), (2024, 2, 28), 3),
        ("years", (2020, 2, 29), (2024, 2, 29), 4),
    ],
)
def test_distances_are_rounded_down(unit, earlier, later, count):
    assert whole_units(unit, datetime.date(*earlier), datetime.date(*later)) == count


@given(days, days, st.sampled_from(UNITS))
def test_going_back_the_whole_units_does_not_pass_the_earlier_date(first, second, unit):
    earlier, later = sorted((first, second))
    day = go_back(later, whole_units(unit, earlier, later), unit)
    # A month that is too short for the day may shift the result by up to three days.
    assert earlier - datetime.timedelta(days=3) <= day <= later
