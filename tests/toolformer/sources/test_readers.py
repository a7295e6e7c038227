import bz2
import gzip
import json
import os
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from toolformer.sources import compression
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import detect_format, list_files
from toolformer.sources.readers import read_raw_records
from toolformer.sources.records import ParsedDocument, Rejection, parse_record
from toolformer.sources.source import Source


def parsed(source: Source) -> list[ParsedDocument | Rejection]:
    source = source.with_format(list_files(source)[0].format)
    return [item for raw in read_raw_records(source) for item in parse_record(raw, source)]


def outcomes(source: Source) -> list[str]:
    return [item.reason if isinstance(item, Rejection) else item.text for item in parsed(source)]


LINES = "".join(json.dumps({"text": f"Text {number}."}) + "\n" for number in range(5000)).encode()


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_streams_of_every_compression_are_read_to_the_last(tmp_path, source_of, suffix, compress):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress(LINES) + compress(LINES))
    texts = outcomes(source_of(path))
    assert (len(texts), texts[-1]) == (10_000, "Text 4999.")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_truncated_file_gives_what_comes_before_and_one_rejection(
    tmp_path, source_of, suffix, compress
):
    # Random letters, so that many blocks are stored and most of them are before the cut.
    lines = [json.dumps({"text": os.urandom(400).hex()}) for _ in range(3000)]
    stored = compress("\n".join(lines).encode())
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(stored[: len(stored) * 3 // 4])
    *texts, last = parsed(source_of(path))
    assert isinstance(last, Rejection)
    assert (last.reason, last.source_offset) == ("truncated_source", len(texts))
    assert len(texts) > 1000
    assert all(isinstance(item, ParsedDocument) for item in texts)


def test_damage_in_the_middle_is_one_rejection(tmp_path, source_of):
    lines = [json.dumps({"text": os.urandom(400).hex()}) for _ in range(3000)]
    stored = bytearray(gzip.compress("\n".join(lines).encode()))
    middle = len(stored) // 2
    stored[middle : middle + 100] = b"\xff" * 100
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(stored)
    reasons = [item.reason for item in parsed(source_of(path)) if isinstance(item, Rejection)]
    assert reasons[-1] == "damaged_source"


def test_bytes_that_are_not_utf8_cost_only_their_line(tmp_path, source_of):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": "caf\xe9"}\n{"text": "two"}\n')
    assert outcomes(source_of(path)) == ["one", "invalid_utf8", "two"]


def test_a_line_longer_than_memory_should_hold_is_skipped(tmp_path, source_of):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + b"x" * 3_000_000 + b'\n{"text": "two"}\n')
    assert outcomes(source_of(path, maximum_text_bytes=1000)) == ["one", "too_long", "two"]


def test_limit_counts_raw_records_over_all_files(source_of, write_jsonl, tmp_path):
    for name in ("a", "b"):
        write_jsonl(f"{name}.jsonl", [{"text": f"{name}{number}"} for number in range(3)])
    assert outcomes(source_of(tmp_path / "*.jsonl", limit=4)) == ["a0", "a1", "a2", "b0"]


def test_glob_reads_files_by_name_and_names_each(source_of, write_jsonl, tmp_path, monkeypatch):
    for name in ("deep/er/b", "deep/a"):
        write_jsonl(f"{name}.jsonl", [{"text": name}])
    write_jsonl("deep/ignored.txt", ["no"])
    monkeypatch.chdir(tmp_path)
    assert [item.source for item in parsed(source_of("./deep/**/*.jsonl"))] == [
        "deep/a.jsonl",
        "deep/er/b.jsonl",
    ]


class TestTextFolder:
    def test_every_text_file_is_one_document_titled_by_its_name(self, tmp_path, source_of):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/z.md").write_text("last")
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\r\nline")
        (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"second"))
        (tmp_path / ".hidden.txt").write_text("hidden")
        (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
        documents = parsed(source_of(tmp_path))
        assert [d.text for d in documents if isinstance(d, ParsedDocument)] == [
            "first\r\nline",
            "second",
            "last",
        ]
        assert [d.title for d in documents if isinstance(d, ParsedDocument)] == [
            "a.txt",
            "b.txt.gz",
            "z.md",
        ]

    def test_binary_and_empty_files_are_rejected_one_by_one(self, tmp_path, source_of):
        (tmp_path / "a.txt").write_bytes(bytes(range(200, 256)))
        (tmp_path / "b.txt").write_text("")
        (tmp_path / "c.txt").write_text("text " * 10)
        (tmp_path / "d.txt").write_text("long " * 1000)
        assert outcomes(source_of(tmp_path, maximum_text_bytes=100)) == [
            "invalid_utf8",
            "empty_text",
            "text " * 10,
            "too_long",
        ]


class TestParquet:
    def test_rows_become_documents_with_dates_of_every_type(self, tmp_path, source_of):
        path = tmp_path / "a.parquet"
        day, moment = date(2013, 9, 18), datetime(2013, 9, 18, 23, 59, 1, 123456)
        for column in (
            pyarrow.array([day, None]),
            pyarrow.array([moment, None], pyarrow.timestamp("ns", "UTC")),
            pyarrow.array([moment, None], pyarrow.timestamp("us")),
            pyarrow.array(["18 Sep 2013", None]).dictionary_encode(),
            pyarrow.array([20130918, None]),
        ):
            texts = pyarrow.array(["one", None], pyarrow.large_string())
            table = pyarrow.table({"text": texts, "date": column, "score": [Decimal(1), None]})
            parquet.write_table(table, path)
            document, rejection = parsed(source_of(path))
            assert isinstance(document, ParsedDocument)
            assert (document.text, document.published_on, document.url) == ("one", day, None)
            assert isinstance(rejection, Rejection)
            assert (rejection.reason, rejection.source_offset) == ("missing_text", 1)

    def test_bytes_and_other_types_in_the_text_column_are_judged_row_by_row(
        self, tmp_path, source_of
    ):
        path = tmp_path / "a.parquet"
        parquet.write_table(pyarrow.table({"text": [b"one", b"caf\xe9"]}), path)
        assert outcomes(source_of(path)) == ["one", "invalid_utf8"]
        for column in (
            pyarrow.array([["nested"]]),
            pyarrow.array([Decimal(1)]),
            pyarrow.array([b"aa"], pyarrow.binary(2)),
        ):
            parquet.write_table(pyarrow.table({"text": column}), path)
            assert outcomes(source_of(path)) == ["text_not_a_string"]

    def test_a_column_that_is_there_twice_is_named_with_its_file(self, tmp_path, source_of):
        path = tmp_path / "a.parquet"
        twice = pyarrow.table([["one"], ["two"]], names=["text", "text"])
        parquet.write_table(twice, path)
        with pytest.raises(SourceError, match=r"a\.parquet' has 2 columns 'text'"):
            parsed(source_of(path))
        other = pyarrow.table([["one"], [1], [2]], names=["text", "score", "score"])
        parquet.write_table(other, path)
        assert outcomes(source_of(path)) == ["one"]

    def test_row_groups_and_files_without_rows_are_passed_over(self, tmp_path, source_of):
        some = pyarrow.table({"text": ["one"]})
        with parquet.ParquetWriter(tmp_path / "a.parquet", some.schema) as writer:
            for part in (some, some.slice(1), some):
                writer.write_table(part)
        parquet.write_table(some.slice(1), tmp_path / "b.parquet")
        parquet.write_table(pyarrow.table({}), tmp_path / "c.parquet")
        assert outcomes(source_of(tmp_path)) == ["one", "one"]
        for name in ("b.parquet", "c.parquet"):
            with pytest.raises(SourceError, match="is empty"):
                parsed(source_of(tmp_path / name))

    def test_rows_are_numbered_through_all_row_groups(self, tmp_path, source_of):
        path = tmp_path / "a.parquet"
        table = pyarrow.table({"text": [f"t{number}" for number in range(5000)]})
        parquet.write_table(table, path, row_group_size=700)
        documents = parsed(source_of(path))
        assert [d.source_offset for d in documents] == list(range(5000))

    def test_contexts_are_read_and_a_file_without_them_is_an_error(self, tmp_path, source_of):
        path = tmp_path / "a.parquet"
        questions = {"question": ["2 + 2?", None, ""], "title": ["T", None, None]}
        parquet.write_table(pyarrow.table({"text": ["4."] * 3, **questions}), path)
        first, second, third = parsed(source_of(path, context_column="question"))
        assert isinstance(first, ParsedDocument)
        assert (first.text, first.context, first.title) == ("4.", "2 + 2?", "T")
        assert isinstance(second, Rejection)
        assert second.reason == "missing_context"
        assert isinstance(third, ParsedDocument)
        assert third.context is None
        with pytest.raises(SourceError, match=r"no column 'q'.*question, title\. Set context_col"):
            parsed(source_of(path, context_column="q"))


def test_text_column_within_the_first_hundred_records_is_enough(source_of, write_jsonl):
    path = write_jsonl("a.jsonl", [{"body": "x"}] * 99 + [{"text": "one"}])
    assert outcomes(source_of(path)) == ["missing_text"] * 99 + ["one"]
    path = write_jsonl("a.jsonl", [{"content": "x"}] * 200)
    with pytest.raises(SourceError, match="content"):
        parsed(source_of(path))


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        *((name, b"", {}) for name in ("a.jsonl", "a.jsonl.gz", "a.txt", "a.xml", "a.parquet")),
        ("a.json", b'[\n {\n  "text": "one"\n }\n]', {}),
        ("a.jsonl", b'{"text": "one"}\n' * 200, {"context_column": "question"}),
        ("a.txt", b"text", {"context_column": "question"}),
        ("a.docx", b"text", {}),
        ("a.parquet", b"PAR1 and then nothing of the kind", {}),
        ("a.xml", b"<html><body/></html>", {}),
    ],
)
def test_a_file_without_a_usable_record_is_an_error(tmp_path, source_of, name, content, settings):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError):
        parsed(source_of(tmp_path / name, **settings))


def test_a_folder_holds_files_of_one_format_and_some_may_be_empty(tmp_path, source_of, write_jsonl):
    with pytest.raises(SourceError, match="empty"):
        parsed(source_of(tmp_path))
    (tmp_path / "a.jsonl").touch()
    write_jsonl("b.jsonl", [{"text": "one"}])
    assert outcomes(source_of(tmp_path)) == ["one"]
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(SourceError, match="jsonl, text"):
        parsed(source_of(tmp_path))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("news_2012.jsonl", "news_2013"),
        ("nowhere/a.jsonl", "nowhere"),
        ("*.xml", "pattern"),
    ],
)
def test_a_source_that_is_not_there_is_named(tmp_path, source_of, write_jsonl, path, named):
    write_jsonl("news_2013.jsonl", [{"text": "x"}])
    with pytest.raises(SourceNotFoundError, match=named):
        parsed(source_of(tmp_path / path))


def test_a_disk_error_is_not_taken_for_the_end_of_the_file(source_of, write_jsonl, monkeypatch):
    def fail(self, size=0):
        raise OSError(5, "Input/output error")

    path = write_jsonl("a.jsonl", [{"text": "x"}])
    monkeypatch.setattr(compression.ByteStream, "read", fail)
    with pytest.raises(SourceError, match="Input/output error"):
        parsed(source_of(path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.JSONL", "jsonl"),
        ("a.ndjson.zst", "jsonl"),
        ("a.parquet", "parquet"),
        ("a.parquet.gz", None),
        ("a.md.gz", "text"),
        ("enwiki-pages-articles1.xml-p1p41242.bz2", "wikipedia-dump"),
        ("enwiki-pages-articles1.xml-p000000010p000030302-shortened.bz2", "wikipedia-dump"),
        ("CC-MAIN-20240501-00001.warc.wet.gz", "warc"),
        ("a.warc", "warc"),
        ("archive.tar.gz", None),
        ("folder.d/a", None),
    ],
)
def test_format_is_told_by_the_file_name(name, expected):
    assert detect_format(name) == expected


def test_real_web_documents_all_parse(test_data: Path):
    path = test_data / "text/web_docs.jsonl.gz"
    documents = parsed(Source(str(path), shard_size=500))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert len(documents) == len(records) > 3000
    for document, record in zip(documents, records, strict=True):
        assert isinstance(document, ParsedDocument)
        assert document.text == "".join(
            letter
            for letter in record["text"]
            if letter in "\t\n\r" or unicodedata.category(letter) != "Cc"
        )
        assert document.published_on == date.fromisoformat(record["date"])
