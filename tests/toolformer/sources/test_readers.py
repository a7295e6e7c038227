import bz2
import gzip
import json
import os
from datetime import date, datetime
from decimal import Decimal

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from tests.toolformer.sources.conftest import documents, outcomes, parsed
from toolformer.sources import compression
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import detect_format, files_left_out
from toolformer.sources.records import ParsedDocument, Rejection

COMPRESSIONS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
# Random letters, so that many blocks are stored and most of them are before a cut.
LINES = "\n".join(json.dumps({"text": os.urandom(400).hex()}) for _ in range(3000)).encode()


@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_streams_of_every_compression_are_read_to_the_last(written, suffix):
    stored = COMPRESSIONS.get(suffix, bytes)(LINES + b"\n")
    texts = outcomes(written(f"a.jsonl{suffix}", stored + stored))
    assert texts == [json.loads(line)["text"] for line in LINES.splitlines()] * 2


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_truncated_file_gives_what_comes_before_and_one_rejection(written, suffix):
    stored = COMPRESSIONS[suffix](LINES)
    *texts, last = parsed(written(f"a.jsonl{suffix}", stored[: len(stored) * 3 // 4]))
    assert isinstance(last, Rejection)
    assert (last.reason, last.source_offset) == ("truncated_source", len(texts))
    assert len(texts) > 1000
    assert all(isinstance(item, ParsedDocument) for item in texts)


def test_a_line_that_is_not_utf8_or_too_long_for_memory_costs_only_itself(written):
    lines = (b'{"text": "one"}', b'{"text": "caf\xe9"}', b"x" * 3_000_000, b'{"text": "two"}')
    source = written("a.jsonl", b"\n".join(lines), maximum_text_bytes=1000)
    assert outcomes(source) == ["one", "invalid_utf8", "too_long", "two"]


def test_a_pattern_reads_files_by_name_names_each_and_counts_records_over_all(
    source_of, written, jsonl, monkeypatch, tmp_path
):
    for name in ("deep/er/b", "deep/a"):
        jsonl(f"{name}.jsonl", [{"text": f"{name}{number}"} for number in range(3)])
    written("deep/ignored.txt", "no")
    monkeypatch.chdir(tmp_path)
    found = documents(source_of("./deep/**/*.jsonl", limit=4))
    assert [item.source for item in found] == ["deep/a.jsonl"] * 3 + ["deep/er/b.jsonl"]
    assert [item.text for item in found] == ["deep/a0", "deep/a1", "deep/a2", "deep/er/b0"]


def test_hidden_files_are_read_where_the_pattern_names_them(source_of, written, tmp_path):
    for name in ("more/a.txt", "more/._a.txt", "more/.ipynb_checkpoints/a.txt"):
        written(f".mine/{name}", name)

    def read(pattern: str) -> list[str]:
        return [document.text for document in documents(source_of(tmp_path / ".mine" / pattern))]

    assert read("more/*.txt") == read("**/a.txt") == read("m*/*") == ["more/a.txt"]
    assert read("more/._*.txt") == ["more/._a.txt"]
    assert read("more/.ipynb*/*") == ["more/.ipynb_checkpoints/a.txt"]


def test_every_text_file_of_a_folder_is_one_document_or_rejection(tmp_path, source_of, written):
    for name, content in {
        "sub/z.md": "last",
        "a.txt": b"\xef\xbb\xbffirst\r\nline",
        "b.txt.gz": gzip.compress(b"second"),
        ".hidden.txt": "hidden",
        "photo.jpg": b"\xff\xd8",
    }.items():
        written(name, content)
    found = [(item.text, item.title) for item in documents(source_of(tmp_path))]
    assert found == [("first\r\nline", "a.txt"), ("second", "b.txt.gz"), ("last", "z.md")]
    written("c.txt", bytes(range(200, 256)))
    written("d.txt", "")
    limited = written("e.txt", "long " * 1000, maximum_text_bytes=100)
    assert outcomes(limited) == ["too_long"]
    expected = ["first\r\nline", "second", "invalid_utf8", "empty_text", "too_long", "last"]
    assert outcomes(source_of(tmp_path, maximum_text_bytes=100)) == expected


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

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (pyarrow.array([b"one", b"caf\xe9"]), ["one", "invalid_utf8"]),
            (pyarrow.array([["nested"]]), ["text_not_a_string"]),
            (pyarrow.array([Decimal(1)]), ["text_not_a_string"]),
            (pyarrow.array([b"aa"], pyarrow.binary(2)), ["text_not_a_string"]),
        ],
    )
    def test_text_of_other_types_is_judged_row_by_row(self, tmp_path, source_of, column, expected):
        parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
        assert outcomes(source_of(tmp_path / "a.parquet")) == expected

    def test_a_column_that_is_there_twice_is_named_with_its_file(self, tmp_path, source_of):
        path = tmp_path / "a.parquet"
        parquet.write_table(pyarrow.table([["one"], ["two"]], names=["text", "text"]), path)
        with pytest.raises(SourceError, match=r"a\.parquet' has 2 columns 'text'"):
            parsed(source_of(path))
        other = pyarrow.table([["one"], [1], [2]], names=["text", "score", "score"])
        parquet.write_table(other, path)
        assert outcomes(source_of(path)) == ["one"]

    def test_row_groups_and_files_without_rows_are_passed_over(self, tmp_path, source_of):
        some = pyarrow.table({"text": [f"t{number}" for number in range(500)]})
        with parquet.ParquetWriter(tmp_path / "a.parquet", some.schema) as writer:
            for part in (some, some.slice(500), some):
                writer.write_table(part, row_group_size=70)
        parquet.write_table(some.slice(500), tmp_path / "b.parquet")
        parquet.write_table(pyarrow.table({}), tmp_path / "c.parquet")
        # Rows are numbered through all row groups.
        assert [d.source_offset for d in documents(source_of(tmp_path))] == list(range(1000))
        for name in ("b.parquet", "c.parquet"):
            with pytest.raises(SourceError, match="is empty"):
                parsed(source_of(tmp_path / name))

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


def test_text_column_within_the_first_hundred_records_is_enough(jsonl):
    source = jsonl("a.jsonl", [{"body": "x"}] * 99 + [{"text": "one"}])
    assert outcomes(source) == ["missing_text"] * 99 + ["one"]
    with pytest.raises(SourceError, match="content"):
        parsed(jsonl("a.jsonl", [{"content": "x"}] * 200))


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
def test_a_file_without_a_usable_record_is_an_error(written, name, content, settings):
    with pytest.raises(SourceError):
        parsed(written(name, content, **settings))


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
# Of no time, which would be part of a test's name.
PACKED = gzip.compress(b'{"text": "one"}\n', mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'[\n {\n  "text": "one"\n }\n]', "pretty-printed"),
        ("a.jsonl", '{"text": "one"}\n'.encode("utf-16"), "not UTF-8"),
        ("a.jsonl", '{"text": "one"}\n'.encode("utf-16-le"), "not UTF-8"),
        ("a.jsonl", '{"text": "café"}\n'.encode("latin-1"), "not UTF-8"),
        ("a.jsonl", PACKED, "is gzip"),
        ("a.jsonl.gz", gzip.compress(PACKED, mtime=0), "is gzip"),
        *(
            (name, LFS_POINTER, "pointer of Git LFS")
            for name in ("a.jsonl.gz", "a.txt", "a.parquet")
        ),
    ],
)
def test_why_no_line_is_an_object_is_told(written, name, content, said):
    with pytest.raises(SourceError, match=said):
        parsed(written(name, content))


@pytest.mark.parametrize("name", ["dataset_info.json", "state.json"])
def test_a_set_on_disk_is_refused_with_the_remedy(written, tmp_path, source_of, name):
    written(f"saved/train/{name}", '{"features": {}}')
    arrow = written("saved/train/data-00000-of-00001.arrow", b"ARROW1")
    for source in (source_of(tmp_path / "saved"), arrow):
        with pytest.raises(SourceError, match=r"load_from_disk\(\S+/train\'\)\.to_parquet"):
            parsed(source)
    # What only lies there is left out, and told.
    (tmp_path / "saved" / "train" / name).unlink()
    written("saved/train/a.jsonl", '{"text": "One."}\n')
    assert outcomes(source_of(tmp_path / "saved")) == ["One."]


EXTRACTED = b"""<doc id="12" url="https://e.org/wiki?curid=12" title="The "Big" M&M">
The "Big" M&M

A &lt; B.

Two.

</doc>
<doc id="13" revid="7" url="x" title="Rode">
Rode

</doc>
"""


@pytest.mark.parametrize("name", ["AA/wiki_00", "AA/wiki_00.bz2", "wiki.txt"])
def test_files_of_wikiextractor_give_an_article_a_document(written, tmp_path, source_of, name):
    source = written(f"all/{name}", bz2.compress(EXTRACTED) if name.endswith("2") else EXTRACTED)
    for each in (source, source_of(tmp_path / "all")):
        article, empty = parsed(each)
        assert (article.title, article.url) == ('The "Big" M&M', "https://e.org/wiki?curid=12")
        assert (article.text, article.source_offset) == ("A < B.\n\nTwo.", 0)
        assert (empty.reason, empty.source_offset) == ("empty_text", 1)


def test_wikiextractors_files_of_json_lines_are_read_as_such(written):
    source = written("wiki_07", '{"id": "1", "title": "Rode", "text": "Rode has 42 houses."}\n')
    assert outcomes(source) == ["Rode has 42 houses."]


def test_articles_without_a_beginning_or_an_end_are_counted(written):
    begun, article = EXTRACTED.split(b"</doc>\n")[:2]
    content = begun + article + b"Rode has 42 houses.\n</doc>\n\nLost.\n" + begun
    unfinished, read, lost, cut = parsed(written("wiki_00", content))
    assert (unfinished.reason, read.text) == ("damaged_source", "Rode has 42 houses.")
    assert (lost.reason, lost.losses) == ("damaged_source", {"damaged_bytes": 7})
    assert (cut.reason, cut.source_offset) == ("truncated_source", 3)
    (long,) = parsed(written("wiki_01", begun + b"</doc>\n", maximum_text_bytes=20))
    assert (long.reason, long.excerpt) == ("too_long", 'The "Big" M&M')


def test_files_of_a_folder_whose_names_tell_no_format_are_told(tmp_path, source_of, written):
    for name in ("a.jsonl", "b.jsonl.xz", "more/c.csv", ".hidden/d.csv", "more/e.jsonl.gz"):
        written(f"folder/{name}", "")
    folder = tmp_path / "folder"
    assert files_left_out(source_of(folder)) == ["b.jsonl.xz", "more/c.csv"]
    # As texts all are read.
    assert files_left_out(source_of(folder, format="text")) == []
    assert files_left_out(source_of(folder / "a.jsonl")) == []
    assert files_left_out(source_of(folder / "*.jsonl")) == []


def test_a_data_set_is_read_without_its_readme_and_metadata(tmp_path, source_of, written):
    about = [
        *("LICENSE.txt", "README.md", "columns.json", "data/state.json", "data/statistics.json"),
        *("dataset_infos.json", "notes.md"),
    ]
    for name in (*about, ".gitattributes"):
        written(f"hub/{name}", '{\n"splits": 2}')
    for split in ("train", "test"):
        path = tmp_path / f"hub/data/{split}-00000-of-00001.parquet"
        parquet.write_table(pyarrow.table({"text": [split]}), path)
    assert outcomes(source_of(tmp_path / "hub")) == ["test", "train"]
    assert files_left_out(source_of(tmp_path / "hub")) == about


@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (["a.jsonl", "README.md", "dataset_info.json"], ["README.md", "dataset_info.json"]),
        (["a.jsonl", "citation-contexts.jsonl", "README.md"], ["README.md"]),
        # Among texts a README is one.
        (["a.md", "README.md", "state.json"], ["state.json"]),
        (["README.md"], []),
    ],
)
def test_a_readme_is_left_out_beside_records_alone(tmp_path, source_of, written, names, left_out):
    for name in names:
        written(f"set/{name}", '{"text": "a"}')
    assert len(outcomes(source_of(tmp_path / "set"))) == len(names) - len(left_out)
    assert files_left_out(source_of(tmp_path / "set")) == left_out


def test_a_folder_holds_files_of_one_format_and_some_may_be_empty(tmp_path, source_of, written):
    with pytest.raises(SourceError, match="empty"):
        parsed(source_of(tmp_path))
    written("a.jsonl", "")
    written("b.jsonl", '{"text": "one"}')
    assert outcomes(source_of(tmp_path)) == ["one"]
    written("b.txt", "x")
    with pytest.raises(SourceError, match="jsonl, text"):
        parsed(source_of(tmp_path))


@pytest.mark.parametrize(
    ("path", "named"),
    [("news_2012.jsonl", "news_2013"), ("nowhere/a.jsonl", "nowhere"), ("*.xml", "pattern")],
)
def test_a_source_that_is_not_there_is_named(tmp_path, source_of, written, path, named):
    written("news_2013.jsonl", '{"text": "x"}')
    with pytest.raises(SourceNotFoundError, match=named):
        parsed(source_of(tmp_path / path))


def test_a_disk_error_is_not_taken_for_the_end_of_the_file(written, monkeypatch):
    def fail(self, size=0):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(compression.ByteStream, "read", fail)
    with pytest.raises(SourceError, match="Input/output error"):
        parsed(written("a.jsonl", '{"text": "x"}'))


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("jsonl", ["a.JSONL", "a.ndjson.zst"]),
        ("parquet", ["a.parquet"]),
        ("text", ["a.md.gz"]),
        ("wikipedia-dump", ["enwiki-1.xml-p1p41242.bz2", "enwiki-1.xml-p01p03-shortened.bz2"]),
        ("warc", ["CC-MAIN-20240501-00001.warc.wet.gz", "a.warc"]),
        (None, ["a.parquet.gz", "archive.tar.gz", "folder.d/a"]),
    ],
)
def test_format_is_told_by_the_file_name(expected, names):
    assert [detect_format(name) for name in names] == [expected] * len(names)
