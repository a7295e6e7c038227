"""Parquet, CSV and the folders of `datasets`."""

import bz2
import json
import os
import shutil
from datetime import date, datetime
from decimal import Decimal

import pyarrow
import pytest
from pyarrow import ipc, parquet

from tests.toolformer.sources.conftest import documents, outcomes, parsed
from toolformer.sources.errors import SourceError
from toolformer.sources.records import ParsedDocument, Rejection


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
        with pytest.raises(SourceError, match=r"a\.parquet' has 2 columns named 'text'"):
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
            (
                'text\none\n"two\nthree\n',
                r"after record 1: in the row that starts on line 3: unexpected",
            ),
            (
                'text\none\n"two" three\n',
                r"after record 1: in the row that starts on line 3: .*expected after",
            ),
            ("body;url\none;x\n", r"no column 'text'.*Its columns are: body;url"),
            ("text,text\none,x\n", r"has 2 columns named 'text'"),
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
        with pytest.raises(
            SourceError, match=r"several splits.*Name the folder of a split, such as '\S+/test'"
        ):
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
