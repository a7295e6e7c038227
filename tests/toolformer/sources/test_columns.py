"""Names of columns reach into objects, and into structures of Parquet."""

import pyarrow
import pytest
from pyarrow import parquet

from tests.toolformer.sources.conftest import documents, parsed
from toolformer.sources.columns import MISSING, column_names, value_at
from toolformer.sources.errors import SourceError

URL = "https://a.org/2020/05/04/b"


@pytest.mark.parametrize(
    "row",
    [
        {"metadata": {"url": URL}},
        {"metadata.url": URL, "metadata": {"url": "another"}},
        {"metadata": {"url": URL}, "metadata.title": "T"},
    ],
)
def test_a_dotted_name_finds_its_value(row):
    assert value_at(row, "metadata.url") == URL


def test_names_reach_through_several_objects_whose_keys_may_hold_dots():
    headers = {"warc_headers": {"warc-target-uri": URL, "a.b": 1}}
    row = {"metadata": headers, "x.y": {"z": 2}, "none": None, "text": "{no JSON"}
    assert value_at(row, "metadata.warc_headers.warc-target-uri") == URL
    assert value_at(row, "metadata.warc_headers.a.b") == 1
    assert value_at(row, "x.y.z") == 2
    assert value_at(row, "none.url") is None
    for name in ("metadata.url", "text.url", "x", "nothing", "x.y.z.w", ".", ""):
        assert value_at(row, name) is MISSING
    assert list(column_names(row))[:2] == [
        "metadata.warc_headers.warc-target-uri",
        "metadata.warc_headers.a.b",
    ]


def test_every_column_option_takes_a_dotted_name(jsonl):
    row = {
        "data": {"body": "4.", "question": "2 + 2?"},
        "meta": {"url": URL, "headline": "T", "created": 1588600000},
    }
    columns = {"text": "data.body", "context": "data.question", "title": "meta.headline"}
    columns |= {"url": "meta.url", "date": "meta.created"}
    given = {f"{content}_column": name for content, name in columns.items()}
    (document,) = documents(jsonl("a.jsonl", [row], **given))
    assert (document.text, document.context, document.title) == ("4.", "2 + 2?", "T")
    assert (document.url, str(document.published_on)) == (URL, "2020-05-04")
    assert document.losses == {}


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([{"url": URL, "other": [1]}, None]),
        pyarrow.array([{"url": URL}, {"url": None}]).cast(
            pyarrow.struct([("url", pyarrow.large_string())])
        ),
    ],
)
def test_structures_of_parquet_are_reached_into(tmp_path, source_of, column):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", "two"], "meta": column}), path)
    first, second = documents(source_of(path, url_column="meta.url"))
    assert (first.url, second.url) == (URL, None)


def test_a_parquet_column_whose_name_holds_the_dot_comes_first(tmp_path, source_of):
    path = tmp_path / "a.parquet"
    table = {"text": ["one"], "meta": [{"url": "another"}], "meta.url": [URL]}
    parquet.write_table(pyarrow.table(table), path)
    (document,) = documents(source_of(path, url_column="meta.url"))
    assert document.url == URL


def test_a_named_column_that_no_record_has_is_an_error_that_lists_the_columns(
    jsonl, tmp_path, source_of
):
    rows = [{"text": "one", "metadata": {"url": URL}, "created": "2020-05-04"}] * 150
    listed = r"no column 'link'.*150 record.*text, metadata\.url, created\. Set url_column"
    with pytest.raises(SourceError, match=listed):
        parsed(jsonl("a.jsonl", rows, url_column="link"))
    with pytest.raises(SourceError, match=r"no column 'metadata\.title'"):
        parsed(jsonl("a.jsonl", rows, title_column="metadata.title"))
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(SourceError, match=r"'metadata\.link'.*text, metadata\.url, created\. Set"):
        parsed(source_of(path, url_column="metadata.link"))
    with pytest.raises(
        SourceError, match=r"no column 'day'.*metadata\.url, created\. Set date_column"
    ):
        parsed(source_of(path, date_column="day"))
    # Of the columns that nobody named any may be missing, and one that comes late is there.
    assert len(documents(jsonl("a.jsonl", rows))) == 150
    late = jsonl("a.jsonl", [*rows, {"text": "two", "link": URL}], url_column="link")
    assert documents(late)[-1].url == URL


def test_the_nested_case_gives_addresses_and_dates(test_data, source_of):
    path = test_data / "cases" / "07-nested-columns" / "nested.jsonl"
    given = {"url_column": "metadata.url", "date_column": "created"}
    found = documents(source_of(path, **given))
    assert [str(document.published_on) for document in found] == [
        *("2019-04-25", "2020-02-29", "2021-12-31")
    ]
    assert [document.url for document in found] == [
        *("https://post.example/2019/04/25/fair.html", None, None)
    ]
    assert [document.losses for document in found] == [{}, {"columns": 1}, {"columns": 1}]
    with pytest.raises(SourceError, match=r"'nosuchcolumn'.*metadata\.url"):
        parsed(source_of(path, url_column="nosuchcolumn"))
