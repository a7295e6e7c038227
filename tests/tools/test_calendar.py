"""The calendar and dates in URLs."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.calendar import Calendar, date_in_url
from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document, Preselection

MAY_3 = datetime.date(2024, 5, 3)
LATEST = datetime.date(2024, 12, 31)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/news/2024/05/03/fair.html?page=2#top",
        "example.org/2024/05/03/fair",
        "https://example.org/blog/2024-05-03-the-fair",
        "https://example.org/20240503/fair",
        "http://[broken/20240503",
        "https://example.org/2024/13/01/20240503",
    ],
)
def test_a_date_in_the_path_is_found(url):
    assert date_in_url(url, LATEST) == MAY_3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.org/2024/05/fair",
        "https://example.org/2024/5/3/",
        "https://example.org/x2024/05/03/",
        "https://example.org/2023/02/29/",
        "https://example.org/1994/12/31/",
        "https://example.org/2025/01/01/",
        "https://example.org/?on=/2024/05/03/",
        "https://example.org/fair-20240503",
        "https://example.org/202405031",
        "https://example.org/2024-05-031",
        "https://20240503/fair",
        "https://example.org/٢٠٢٤/٠٥/٠٣/",
    ],
)
def test_other_urls_have_no_date(url):
    assert date_in_url(url, LATEST) is None


@given(st.text() | st.from_regex(r"(/?[0-9]{2,8}[-/]?){1,6}"))
def test_no_url_is_an_error_or_gives_a_date_out_of_bounds(url):
    date = date_in_url(url, LATEST)
    assert date is None or datetime.date(1995, 1, 1) <= date <= LATEST


def test_the_url_decides_by_default_and_the_given_date_when_told():
    document = Document("d", "", url="https://example.org/2020/02/29/", published_on=MAY_3)
    assert Calendar().call("", document) == "Today is Saturday, February 29, 2020."
    given_date = Calendar(date_source="published_on").call("", document)
    assert given_date == "Today is Friday, May 3, 2024."


def test_a_url_cannot_name_a_day_after_the_crawl():
    document = Document("d", "", url="https://example.org/2024/05/03/")
    assert Calendar(latest_date="2024-05-03").preselect(document).is_selected
    assert not Calendar(latest_date=datetime.date(2024, 5, 2)).preselect(document).is_selected
    crawled_before = Document("d", "", document.url, published_on=datetime.date(2024, 5, 2))
    assert Calendar().preselect(crawled_before) == Preselection(False, "date_in_url_after_limit")


@pytest.mark.parametrize("zero", [datetime.date.min, datetime.date(1970, 1, 1), datetime.date.max])
def test_a_zero_date_is_no_date_and_takes_none_from_the_url(zero):
    document = Document("d", "", url="https://example.org/2024/05/03/", published_on=zero)
    assert Calendar().call("", document) == "Today is Friday, May 3, 2024."
    by_record = Calendar(date_source="published_on")
    assert by_record.preselect(document) == Preselection(False, "no_date_given")
    with pytest.raises(ToolCallError, match=f"is {zero}. Expected a date from 1995 to 2099"):
        by_record.call("", document)


def test_a_text_without_a_date_has_no_answer_and_a_call_no_arguments():
    with pytest.raises(ToolCallError) as caught:
        Calendar().call("", Document("d", "", published_on=MAY_3))
    assert caught.value.reason == "no_date"
    assert Calendar().parse_arguments(" \n") == ""
    with pytest.raises(CallSyntaxError):
        Calendar().parse_arguments("today")


def test_texts_with_a_date_are_selected():
    with_url = Document("d", "", url="https://example.org/2024/05/03/")
    given = Document("d", "", published_on=MAY_3)
    for source, document, expected in (
        ("url", with_url, Preselection(True, "date_in_url")),
        ("url", given, Preselection(False, "no_date_in_url")),
        ("published_on", given, Preselection(True, "date_given")),
        ("published_on", with_url, Preselection(False, "no_date_given")),
    ):
        assert Calendar(date_source=source).preselect(document) == expected
