import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.sources.dates import parse_publication_date


@pytest.mark.parametrize(
    "written",
    [
        *("2013-09-18", "20130918", 20130918, "2013/09/18", "September 18, 2013", "9/18/2013"),
        *("2013-09-18T23:50:00-08:00", "2013-09-18 23:50:00 UTC", "Wed, 18 Sep 2013 10:00:00 EST"),
        *(datetime.date(2013, 9, 18), datetime.datetime(2013, 9, 18, 23, 59)),
    ],
)
def test_complete_dates_are_read_in_every_common_form(written):
    assert parse_publication_date(written) == datetime.date(2013, 9, 18)


@pytest.mark.parametrize(
    "written",
    [
        *("2013", "2013-09", "Friday", "10:30", "9/18/13", "03/04/2013", "2013-02-30", "soon"),
        *("", "\x00", None, True, 2.5, [], "2013-09-18" * 20),
    ],
)
def test_incomplete_ambiguous_and_invalid_dates_are_no_dates(written):
    assert parse_publication_date(written) is None


@given(st.dates(min_value=datetime.date(1000, 1, 1)))
def test_iso_dates_come_back_as_they_are(date):
    assert parse_publication_date(date.isoformat()) == date
    assert parse_publication_date(date.strftime("%d %B %Y")) == date


@given(st.text(max_size=70))
def test_no_text_makes_the_date_reader_fail(text):
    parse_publication_date(text)
