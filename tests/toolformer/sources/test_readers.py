import bz2
import gzip
import io
import json
import lzma
import os
import shutil
from datetime import date, datetime
from decimal import Decimal

import pyarrow
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from tests.faults.bombs import zstandard_window_of_two_gigabytes
from tests.toolformer.sources.conftest import documents, outcomes, parsed
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import detect_format, files_left_out, list_files
from toolformer.sources.readers import read_documents, read_lines
from toolformer.sources.records import ParsedDocument, Rejection

COMPRESSIONS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
# Random letters, so that many blocks are stored and most of them are before a cut.
LINES = "\n".join(json.dumps({"text": os.urandom(400).hex()}) for _ in range(3000)).encode()


@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_streams_of_every_compression_are_read_to_the_last(written, suffix):
    stored = COMPRESSIONS.get(suffix, bytes)(LINES + b"\n")
    texts = outcomes(written(f"a.jsonl{suffix}", stored + stored))
    assert texts == [json.loads(line)["text"] for line in LINES.splitlines()] * 2


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("member", [0, 1])
def test_a_file_that_breaks_off_is_an_error_that_names_the_place(written, suffix, member):
    stored = COMPRESSIONS[suffix](LINES)
    source = written(f"a.jsonl{suffix}", stored * member + stored[: len(stored) * 3 // 4])
    with pytest.raises(SourceError, match=r"'\S+' cannot be read after record (\d+): ") as raised:
        parsed(source)
    assert "Nothing of it was stored" in str(raised.value)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("place", [0, 1, 3, 0.5, -1])
def test_a_changed_byte_in_a_second_member_is_an_error(written, suffix, place):
    """Libraries ignore what follows the first member if it does not look like another one."""
    first, second = (COMPRESSIONS[suffix](LINES + b"\n") for _ in range(2))
    place = int(place * len(second)) if isinstance(place, float) else place % len(second)
    damaged = second[:place] + bytes([second[place] ^ 0xFF]) + second[place + 1 :]
    with pytest.raises(SourceError, match="cannot be read after record"):
        parsed(written(f"a.jsonl{suffix}", first + damaged))


def test_zero_bytes_between_and_after_members_are_padding(written):
    packed = gzip.compress(b'{"text": "one"}\n')
    assert outcomes(written("a.jsonl.gz", (packed + b"\0" * 5000) * 2)) == ["one"] * 2


def test_a_file_that_changes_while_it_is_read_is_an_error(written, tmp_path):
    source = written("a.jsonl", b'{"text": "one"}\n' * 100_000)
    items = read_documents(source, list_files(source))
    assert next(items)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "two"}\n')
    with pytest.raises(SourceError, match="it changed while it was read"):
        list(items)


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
        with pytest.raises(SourceError, match=r"no column 'q'.*title, question\. Set context"):
            parsed(source_of(path, context_column="q"))


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
        *(
            (name, LFS_POINTER, "pointer of Git LFS")
            for name in ("a.jsonl.gz", "a.txt", "a.parquet")
        ),
    ],
)
def test_why_no_line_is_an_object_is_told(written, name, content, said):
    with pytest.raises(SourceError, match=said):
        parsed(written(name, content))


def test_wikiextractors_files_of_json_lines_are_read_as_such(written):
    source = written("wiki_07", '{"id": "1", "title": "Rode", "text": "Rode has 42 houses."}\n')
    assert outcomes(source) == ["Rode has 42 houses."]


def test_files_of_a_folder_whose_names_tell_no_format_are_told(tmp_path, source_of, written):
    for name in ("a.jsonl", "b.jsonl.lz4", "more/c.pdf", ".hidden/d.pdf", "more/e.jsonl.gz"):
        written(f"folder/{name}", "")
    folder = tmp_path / "folder"
    assert files_left_out(source_of(folder)) == ["b.jsonl.lz4", "more/c.pdf"]
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


def test_a_disk_error_is_an_error_that_names_it(written, monkeypatch):
    def fail(self, size=0):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("toolformer.sources.readers.read_lines", fail)
    with pytest.raises(SourceError, match="Input/output error"):
        parsed(written("a.jsonl", '{"text": "x"}'))


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("jsonl", ["a.JSONL", "a.ndjson.zst"]),
        ("parquet", ["a.parquet"]),
        ("text", ["a.md.gz"]),
        ("csv", ["a.csv", "a.tsv.xz"]),
        ("arrow", ["data-00000-of-00001.arrow"]),
        (None, ["a.parquet.gz", "archive.tar.gz", "folder.d/a", "a.warc.gz", "a.xml"]),
    ],
)
def test_format_is_told_by_the_file_name(expected, names):
    assert [detect_format(name) for name in names] == [expected] * len(names)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("enwiki-1.xml-p1p41242.bz2", "hf://datasets/wikimedia/wikipedia"),
        ("pages.xml", "JSON lines"),
        ("CC-MAIN-20240501-00001.warc.wet.gz", "extract their texts to JSON lines"),
        ("a.warc", "extract their texts to JSON lines"),
        ("texts.zip", "unpack"),
    ],
)
def test_a_format_that_is_not_read_is_refused_with_the_form_to_bring(
    written, tmp_path, source_of, name, instead
):
    for source in (
        written(f"one/{name}", b"x"),
        source_of(tmp_path / "one"),
        source_of(tmp_path / "one/*"),
    ):
        with pytest.raises(SourceError, match=instead):
            parsed(source)
    # Beside texts it is left out, and reported.
    written("one/a.jsonl", '{"text": "One."}\n')
    assert outcomes(source_of(tmp_path / "one")) == ["One."]
    assert files_left_out(source_of(tmp_path / "one")) == [name]


def test_articles_of_wikiextractor_are_refused_with_its_option(written):
    content = '<doc id="12" url="https://e.org" title="Rode">\nRode\n\nA text.\n</doc>\n'
    for name in ("wiki_00", "articles.txt"):
        with pytest.raises(SourceError, match="--json"):
            parsed(written(name, content))


class TestCsv:
    def test_rows_become_documents(self, written):
        content = (
            '\ufefftext,date,url,id\r\n"One, ""two""\nand three.",2013-09-18,https://a.org,007\r\n'
            "\r\nNaN,,,\r\n,2013-09-18,x,1\r\nshort,x\r\nlong,x,x,x,x\r\n"
        )
        first, nan, *rejected = parsed(written("a.csv", content))
        assert isinstance(first, ParsedDocument)
        assert isinstance(nan, ParsedDocument)
        assert (first.text, str(first.published_on)) == ('One, "two"\nand three.', "2013-09-18")
        assert (first.url, first.losses, first.source_offset) == ("https://a.org", {}, 0)
        assert (nan.text, nan.published_on, nan.url) == ("NaN", None, None)
        assert [
            (each.source_offset, each.reason) for each in rejected if isinstance(each, Rejection)
        ] == [*((2, "empty_text"), (3, "wrong_column_count"), (4, "wrong_column_count"))]

    def test_tabs_and_compressions_are_read(self, written):
        content = b"id\ttext\n1\tone, two\n"
        assert outcomes(written("a.tsv", content)) == ["one, two"]
        assert outcomes(written("a.tsv.bz2", bz2.compress(content))) == ["one, two"]

    def test_bytes_that_are_not_utf8_cost_their_row(self, written):
        content = "text,url\ncafé,x\nok,x\n".encode("latin-1")
        assert outcomes(written("a.csv", content)) == ["invalid_utf8", "ok"]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('text\none\n"two\nthree\n', r"after record 1: after line 4: unexpected end of data"),
            ('text\none\n"two" three\n', r"after record 1: after line 3: .*expected after"),
            ("body;url\none;x\n", r"no column 'text'.*Its columns are: body;url"),
            ("text,text\none,x\n", r"has 2 columns 'text'"),
        ],
    )
    def test_a_table_that_cannot_be_read_is_an_error(self, written, content, said):
        with pytest.raises(SourceError, match=said):
            parsed(written("a.csv", content))

    def test_a_quote_that_never_ends_does_not_fill_the_memory(self, written):
        source = written("a.csv", 'text\n"' + "x" * 10_000, maximum_text_bytes=1000)
        with pytest.raises(SourceError, match="larger than field limit"):
            parsed(source)


class TestSavedSets:
    """Folders as `datasets.save_to_disk` writes them."""

    def save(self, folder, parts: list[list[str]], *, is_stream: bool = True) -> None:
        folder.mkdir(parents=True)
        names = [f"data-{n:05}-of-{len(parts):05}.arrow" for n in range(len(parts))]
        for name, texts in zip(names, parts, strict=True):
            table = pyarrow.table({"text": texts, "id": list(range(len(texts)))})
            new = ipc.new_stream if is_stream else ipc.new_file
            with new(folder / name, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
        files = [{"filename": name} for name in names]
        (folder / "state.json").write_text(json.dumps({"_data_files": files}))
        (folder / "dataset_info.json").write_text("{}")

    @pytest.mark.parametrize("is_stream", [True, False])
    def test_the_rows_of_all_files_are_read_without_caches(self, tmp_path, source_of, is_stream):
        self.save(tmp_path / "set", [["one", "two", "three"], ["four"]], is_stream=is_stream)
        shutil.copy(
            tmp_path / "set/data-00000-of-00002.arrow", tmp_path / "set/cache-0123456789ab.arrow"
        )
        found = documents(source_of(tmp_path / "set"))
        assert [item.text for item in found] == ["one", "two", "three", "four"]
        assert [item.source_offset for item in found] == [0, 1, 2, 0]
        assert outcomes(source_of(tmp_path / "set/data-00001-of-00002.arrow")) == ["four"]

    def test_several_splits_are_refused(self, tmp_path, source_of):
        for split in ("train", "test"):
            self.save(tmp_path / "set" / split, [[split]])
        (tmp_path / "set/dataset_dict.json").write_text("{}")
        with pytest.raises(SourceError, match=r"several splits.*Name a split, such as '\S+/test'"):
            parsed(source_of(tmp_path / "set"))
        assert outcomes(source_of(tmp_path / "set/train")) == ["train"]

    def test_a_missing_file_and_one_that_breaks_off_are_errors(self, tmp_path, source_of):
        self.save(tmp_path / "set", [["one", "two", "three"], ["four"]])
        file = tmp_path / "set/data-00000-of-00002.arrow"
        whole = file.read_bytes()
        file.unlink()
        with pytest.raises(SourceError, match=r"lacks '\S+data-00000-of-00002\.arrow'"):
            parsed(source_of(tmp_path / "set"))
        # At the end of a batch, in the middle of one, and without its end mark.
        for end in range(20, len(whole), 8):
            file.write_bytes(whole[:end])
            with pytest.raises(SourceError, match="cannot be read"):
                parsed(source_of(tmp_path / "set"))


def test_parquet_that_breaks_off_or_is_damaged_is_an_error(tmp_path, source_of):
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [os.urandom(40).hex() for _ in range(500)]})
    parquet.write_table(table, path, row_group_size=100, write_page_checksum=True)
    whole = path.read_bytes()
    for place in range(1000, 20_000, 3000):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SourceError, match=r"cannot be read"):
            parsed(source_of(path))
        path.write_bytes(whole[:place])
        with pytest.raises(SourceError, match=r"cannot be read"):
            parsed(source_of(path))


def test_a_window_of_two_gigabytes_is_refused(tmp_path, source_of):
    with pytest.raises(SourceError, match="too much memory"):
        parsed(source_of(zstandard_window_of_two_gigabytes(tmp_path)))


@pytest.mark.parametrize("window_log", [20, 27])
def test_files_of_long_windows_are_read(written, window_log):
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = compressor.compress(LINES) + compressor.flush()
    assert len(outcomes(written("a.jsonl.zst", packed))) == 3000


@given(st.lists(st.sampled_from([b"a", b" ", b"\n", b"\r\n", b"\t", b"bc"])).map(b"".join))
def test_lines_have_their_numbers_and_are_as_written(content: bytes):
    lines = [(number, line.rstrip(b"\r")) for number, line in enumerate(content.split(b"\n"))]
    expected = [(number, line) for number, line in lines if line.strip()]
    assert list(read_lines(io.BytesIO(content), 1000)) == expected


def test_links_are_followed_and_pipes_are_not_files(tmp_path, source_of):
    """The cache of the Hugging Face hub has links to files."""
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "one.txt").write_text("One.")
    (folder / "linked.txt").symlink_to(tmp_path / "one.txt")
    (folder / "broken.txt").symlink_to(tmp_path / "none.txt")
    os.mkfifo(folder / "pipe.txt")
    assert outcomes(source_of(folder)) == outcomes(source_of(folder / "*.txt")) == ["One."]
