"""Records of JSON lines and texts."""

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolformer.sources.conftest import documents, outcomes, parsed
from toolformer.sources.errors import SourceError
from toolformer.sources.readers import read_lines


def test_a_line_that_is_not_utf8_or_too_long_for_memory_costs_only_itself(written):
    lines = (b'{"text": "one"}', b'{"text": "caf\xe9"}', b"x" * 3_000_000, b'{"text": "two"}')
    source = written("a.jsonl", b"\n".join(lines), maximum_text_bytes=1000)
    assert outcomes(source) == ["one", "invalid_utf8", "too_long", "two"]


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


def test_text_column_within_the_first_hundred_records_is_enough(jsonl):
    source = jsonl("a.jsonl", [{"body": "x"}] * 99 + [{"text": "one"}])
    assert outcomes(source) == ["missing_text"] * 99 + ["one"]
    with pytest.raises(SourceError, match="content"):
        parsed(jsonl("a.jsonl", [{"content": "x"}] * 200))


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        *((name, b"", {}) for name in ("a.jsonl", "a.jsonl.gz", "a.csv", "a.arrow", "a.parquet")),
        ("a.json", b'[\n {\n  "text": "one"\n }\n]', {}),
        ("a.jsonl", b'{"text": "one"}\n' * 200, {"context_column": "question"}),
        ("a.txt", b"text", {"context_column": "question"}),
        ("a.docx", b"text", {}),
        ("a.parquet", b"PAR1 and then nothing of the kind", {}),
        ("a.csv", b"text\n", {}),
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
        *((name, LFS_POINTER, "Git LFS pointer") for name in ("a.jsonl.gz", "a.txt", "a.parquet")),
    ],
)
def test_why_no_line_is_an_object_is_told(written, name, content, said):
    with pytest.raises(SourceError, match=said):
        parsed(written(name, content))


def test_wikiextractors_files_of_json_lines_are_read_as_such(written):
    source = written("wiki_07", '{"id": "1", "title": "Rode", "text": "Rode has 42 houses."}\n')
    assert outcomes(source) == ["Rode has 42 houses."]


def test_a_disk_error_is_an_error_that_names_it(written, monkeypatch):
    def fail(self, size=0):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("toolformer.sources.readers.read_lines", fail)
    with pytest.raises(SourceError, match="Input/output error"):
        parsed(written("a.jsonl", '{"text": "x"}'))


def test_articles_of_wikiextractor_are_refused_with_its_option(written):
    content = '<doc id="12" url="https://e.org" title="Rode">\nRode\n\nA text.\n</doc>\n'
    for name in ("wiki_00", "articles.txt"):
        with pytest.raises(SourceError, match="--json"):
            parsed(written(name, content))


@given(st.lists(st.sampled_from([b"a", b" ", b"\n", b"\r\n", b"\t", b"bc"])).map(b"".join))
def test_lines_have_their_numbers_and_are_as_written(content: bytes):
    *ended, last = content.split(b"\n")
    lines = [*((line, True) for line in ended), (last, False)]
    expected = [
        (number, line.rstrip(b"\r"), is_ended)
        for number, (line, is_ended) in enumerate(lines)
        if line.strip()
    ]
    assert list(read_lines(io.BytesIO(content), 1000)) == expected


@pytest.mark.parametrize("last", [b'{"text": "tw', b'{"text": "caf\xc3', b"[1", b"nul"])
def test_a_last_line_that_breaks_off_is_an_error(written, last):
    source = written("a.jsonl", b'{"text": "one"}\n\n' + last)
    with pytest.raises(SourceError, match="after record 1: line 3, the last one, is truncated"):
        parsed(source)
    # With an end it is a line like others, and it need not have one.
    assert len(outcomes(written("a.jsonl", b'{"text": "one"}\n' + last + b"\n"))) == 2
    assert outcomes(written("a.jsonl", b'{"text": "one"}\n{"text": "two"}')) == ["one", "two"]
