import datetime
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolformer.sources.dates import parse_publication_date


@pytest.mark.parametrize(
    "written",
    [
        *("2013-09-18", "20130918", 20130918, "2013/09/18", "September 18, 2013", "9/18/2013"),
        *("2013-09-18T2010", "2013-09-18T10:00:00.2013", "2013-09-18-08:00", "2013-09-18 20:13"),
        *("2013-09-18T23:50:00-08:00", "2013-09-18 23:50:00 UTC", "Wed, 18 Sep 2013 10:00:00 EST"),
        *(datetime.date(2013, 9, 18), datetime.datetime(2013, 9, 18, 23, 59)),
        # Numbers that can be one day only.
        *(1379462400, 1379462400.5, "1379462400", "1379462400.25", 1379548799999, 1379462400123456),
        *("1379462400123456789", 1.3794624e12, 20130918.0, "20130918235959", 201309182359),
        *({"$date": "2013-09-18T10:00:00Z"}, {"$date": {"$numberLong": "1379462400000"}}),
    ],
)
def test_complete_dates_are_read_in_every_common_form(written):
    assert parse_publication_date(written) == datetime.date(2013, 9, 18)


@pytest.mark.parametrize(
    "written",
    [
        *("2013", "2013-09", "Friday", "10:30", "9/18/13", "03/04/2013", "2013-02-30", "soon"),
        *("2013-09-18 - 2013-09-20", "2013-09-18/2013-09-20", "2013-09-18/20", "2013-09-18..20"),
        *("5 May 2010 2011", "18-20 September 2013", "20130918-20130920", "2013-09-18 – 20"),
        *("", "\x00", None, True, 2.5, [], "2013-09-18" * 20),
        # No date, and other calendars.
        *("0001-01-01T00:00:00Z", "1970-01-01", "9999-12-31T23:59:59", "0000-00-00", "1900-01-01"),
        *("1970-01-01T00:00:00.000+00:00", "January 1, 0001", "Thu, 01 Jan 1970 00:00:00 GMT"),
        *("2567-05-03", "3 May 2567", 25670503, "1403/02/14", "1445-10-24", 14451024),
        *(datetime.date.min, datetime.datetime.max, datetime.date(1994, 12, 31), "2100-01-01"),
        *(0.0, "0", "19700101000000", -62_135_596_800, "-62135596800000", {"$date": 0}),
        # Before 1995, after 2099, and a number that is 10 o'clock of a day and a second of 2034.
        *(0, -1379462400, 700_000_000, 4_102_444_800, 10**30, 2024060210, "2024060210"),
        *(float("nan"), float("inf"), "1.379e9", 20139999, {"$date": None}, {"date": "2013-09-18"}),
    ],
)
def test_incomplete_ambiguous_and_invalid_dates_are_no_dates(written):
    assert parse_publication_date(written) is None


# In seconds, this could be midnight of October 8th, 1341.
@example(datetime.datetime(2012, 7, 1))
@given(st.datetimes(datetime.datetime(1995, 1, 1), datetime.datetime(2099, 12, 31)))
def test_every_unit_since_1970_gives_the_day_in_utc(moment):
    seconds = (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(seconds=1)
    for unit in (1, 10**3, 10**6, 10**9):
        # Seconds from 2030 on can also be a day with its hour.
        is_clear = unit > 1 or moment.year < 2030
        assert parse_publication_date(seconds * unit) in {
            moment.date(),
            None if not is_clear else moment.date(),
        }


def test_dates_of_the_case_are_all_read(test_data):
    lines = (test_data / "cases" / "06-epoch-dates" / "epoch.jsonl").read_text().splitlines()
    days = [str(parse_publication_date(json.loads(line)["date"])) for line in lines]
    assert days == ["2019-04-25", "2023-08-01", "2023-08-01", "2019-04-25", "2024-06-02"]


@given(st.dates(datetime.date(1995, 1, 1), datetime.date(2099, 12, 31)))
def test_iso_dates_come_back_as_they_are(date):
    assert parse_publication_date(date.isoformat()) == date
    assert parse_publication_date(date.strftime("%d %B %Y")) == date


@given(st.text(max_size=70))
def test_no_text_makes_the_date_reader_fail(text):
    parse_publication_date(text)
