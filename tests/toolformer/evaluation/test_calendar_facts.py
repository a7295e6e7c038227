import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.evaluation.calendar_facts import (
    UNITS,
    go_back,
    holiday_dates,
    number_answers,
    part_answers,
    whole_units,
    written_date,
)

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


@pytest.mark.parametrize(
    ("day", "ordinal"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"),
     (20, "20th"), (21, "21st"), (22, "22nd"), (23, "23rd"), (30, "30th"), (31, "31st")],
)  # fmt: skip
def test_the_day_of_the_month_is_accepted_with_and_without_ending(day, ordinal):
    assert part_answers(datetime.date(2024, 5, day), "day_of_month") == (str(day), ordinal)


def test_parts_of_a_known_date():
    day = datetime.date(2023, 1, 30)
    assert part_answers(day, "weekday") == ("Monday",)
    assert part_answers(day, "month") == ("January",)
    assert part_answers(day, "year") == ("2023",)
    assert written_date(day) == "January 30, 2023"


def test_large_numbers_are_accepted_with_and_without_comma():
    assert number_answers(0) == ("0",)
    assert number_answers(999) == ("999",)
    assert number_answers(1461) == ("1461", "1,461")


def test_a_holiday_on_a_weekend_is_not_moved():
    assert holiday_dates(2020)["Independence Day"] == datetime.date(2020, 7, 4)
    assert holiday_dates(2020)["Independence Day"].weekday() == 5


def test_the_names_of_the_holidays_are_the_same_in_all_years():
    names = [tuple(holiday_dates(year)) for year in range(2010, 2026)]
    assert len(set(names)) == 1
    assert len(names[0]) == 10
