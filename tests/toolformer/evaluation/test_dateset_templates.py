"""Distances in calendar units; `test_dateset.py` works out all other facts a second time."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.evaluation.dateset_templates import UNITS, go_back, whole_units

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
