"""Files in forms that people really have: read exactly, counted with a reason, or refused.

Each case is named after a public report of a reader that lost or changed rows of such a file. The
inputs were written for these tests.
"""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from pyarrow import ipc, parquet

from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files, skipped_files
from toolformer.sources.readers import read_documents
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import Source

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
LINE_ENDS = "one\u2028two\u2029three\rfour\r\nfive"
SEVERAL_LINES = 'a "quoted" word,\nand a second line'


def outcomes(path: Path) -> list[str]:
    """Return the title, if any, and text of each document, and the reason of each rejection."""
    source = Source(str(path), shard_size=100)
    return [
        f"<{each.reason}>"
        if isinstance(each, Rejection)
        else f"{each.title}: {each.text}"
        if each.title
        else each.text
        for each in read_documents(source, list_files(source))
    ]


def as_lines(*texts: object) -> bytes:
    return "".join(f"{json.dumps({'text': text})}\n" for text in texts).encode()


def _csv(*rows: str, ends: str = "\n") -> bytes:
    return "".join(f"{row}{ends}" for row in rows).encode()


@pytest.fixture
def written(tmp_path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def parquet_file(tmp_path) -> Callable[..., Path]:
    def write(name: str, **columns: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns), path)
        return path

    return write


READ = [
    # Line ends of Unicode, or a lone carriage return, are no ends of records.
    ("huggingface/datasets#3729", "a.jsonl", as_lines(LINE_ENDS), [LINE_ENDS]),
    (
        "huggingface/datasets#3729",
        "a.jsonl",
        '{"text": "one\u2028two\u2029three"}\n'.encode(),
        ["one\u2028two\u2029three"],
    ),
    (
        "huggingface/datasets#3729",
        "a.csv",
        _csv("text", "one\u2028two\u2029three", "four"),
        ["one\u2028two\u2029three", "four"],
    ),
    ("huggingface/datasets#622", "a.txt", LINE_ENDS.encode(), [f"a.txt: {LINE_ENDS}"]),
    # Types are not guessed from the first records.
    (
        "huggingface/datasets#7222",
        "a.jsonl",
        as_lines(*[None] * 300, "late"),
        ["<missing_text>"] * 300 + ["late"],
    ),
    (
        "huggingface/datasets#6324",
        "a.jsonl",
        as_lines(1, "1a", ["b"], {"c": 1}),
        ["<text_not_a_string>", "1a", "<text_not_a_string>", "<text_not_a_string>"],
    ),
    # Nor are values: a number in quotes is a text, and so is every cell.
    (
        "pandas-dev/pandas#40992",
        "a.jsonl",
        as_lines("1344800117571260417", "0870"),
        ["1344800117571260417", "0870"],
    ),
    (
        "pola-rs/polars#5924",
        "a.csv",
        _csv("id,text", "1,0870", "2,1e5", "3,true", "4,2024-05-01"),
        ["0870", "1e5", "true", "2024-05-01"],
    ),
    (
        "pandas-dev/pandas#48712",
        "a.csv",
        _csv("id,text", "1,null", "2,NULL", "3,NA", "4,nan", "5,None", "6,N/A", "7,", '8,""'),
        ["null", "NULL", "NA", "nan", "None", "N/A", "<empty_text>", "<empty_text>"],
    ),
    (
        "pandas-dev/pandas#30716",
        "a.jsonl",
        b'{"text": "one", "loss": NaN}\n{"text": "two", "loss": -Infinity}\n',
        ["one", "two"],
    ),
    # What stands after a NUL is part of the text.
    (
        "pandas-dev/pandas#19886",
        "a.csv",
        b"id,text\n1,be\0fore\n2,\0\0\n3,after\n",
        ["before", "<empty_text>", "after"],
    ),
    ("pandas-dev/pandas#4793", "a.csv", b'\xef\xbb\xbf"text","n"\n"one, two",1\n', ["one, two"]),
    ("duckdb/duckdb#15143", "a.csv", b'n,text\n1,one\r\n2,"two\nlines"\n', ["one", "two\nlines"]),
    # A cell with line breaks far into the file, where readers that work in parallel cut it.
    (
        "pola-rs/polars#19078",
        "a.csv",
        _csv(
            "text,n",
            *(f"text {number},{number}" for number in range(5001)),
            '"a ""quoted"" word,\nand a second line",5001',
            "last,5002",
            ends="\r\n",
        ),
        [*(f"text {number}" for number in range(5001)), SEVERAL_LINES, "last"],
    ),
    # Cells never move to other columns.
    (
        "pandas-dev/pandas#14124",
        "a.csv",
        _csv("title,text", "A,one,", "B,two,"),
        ["<wrong_column_count>", "<wrong_column_count>"],
    ),
    (
        "pandas-dev/pandas#14124",
        "a.csv",
        _csv("title,text,,", "A,one,,", "B,two,,"),
        ["A: one", "B: two"],
    ),
    (
        "duckdb/duckdb#14177",
        "a.csv",
        _csv("n,title,text", "1,A,one", "2,B,a row that", "breaks", "3,C,three"),
        ["A: one", "B: a row that", "<wrong_column_count>", "C: three"],
    ),
    # A record in another encoding costs only itself.
    (
        "duckdb/duckdb#2968",
        "a.csv",
        "text,n\ncafé,1\ntea,2\n".encode("latin-1"),
        ["<invalid_utf8>", "tea"],
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "expected"), [pytest.param(*case, id=thread) for thread, *case in READ]
)
def test_records_are_read_as_written_or_counted(written, name, content, expected):
    assert outcomes(written(name, content)) == expected


REFUSED = [
    # A quotation mark that is never closed takes no further lines with it.
    (
        "pandas-dev/pandas#22661",
        "a.tsv",
        b'n\ttext\n4\t"abc"\n5\t"error\n6\tnext\n',
        "in the row that starts on line 3: unexpected end of data",
    ),
    ("pandas-dev/pandas#52408", "a.csv", b"text,n,text\none,1,two\n", "has 2 columns named 'text'"),
    ("duckdb/duckdb#2968", "a.csv", "text,n\ncafé,1\n".encode("utf-16"), "iconv -t UTF-8"),
    ("duckdb/duckdb#2968", "a.jsonl", '{"text": "café"}\n'.encode("utf-16"), "iconv -t UTF-8"),
    (
        "huggingface/datasets#6908",
        "a.jsonl",
        gzip.compress(as_lines("one")),
        "The first line is gzip",
    ),
    (
        "huggingface/datasets#6908, with a line break in it",
        "a.csv",
        gzip.compress(_csv("text", "one"), mtime=0x0D0D0D0D),
        "Decompress",
    ),
    (
        "huggingface/datasets#6908, in one line",
        "a.csv",
        gzip.compress(_csv("text", "one"), mtime=1),
        "Decompress",
    ),
    ("huggingface/datasets#7322", "a.json", b'[{"text": "one"}, {"text": "two"}]\n', "jq -c"),
    ("apache/parquet-java#1688", "a.parquet", b"", "it is truncated, or is not a Parquet"),
]


@pytest.mark.parametrize(
    ("name", "content", "said"), [pytest.param(*case, id=thread) for thread, *case in REFUSED]
)
def test_a_file_that_cannot_be_read_is_refused_with_the_remedy(written, name, content, said):
    path = written(name, content)
    with pytest.raises(SourceError) as refusal:
        outcomes(path)
    assert said in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", as_lines("one", "two", "three")), ("a.csv", _csv("text", "one", "two", "three"))],
)
def test_every_member_of_a_compressed_file_is_read(written, name, content, suffix):
    """A second frame was skipped (indygreg/python-zstandard#59)."""
    compress = COMPRESSIONS[suffix]
    # Some are empty, and a line goes on in the next.
    members = content[:7], b"", content[7:12], content[12:], b""
    stored = b"".join(map(compress, members))
    assert outcomes(written(name + suffix, stored)) == ["one", "two", "three"]


@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_an_empty_file_among_others_costs_none_of_them(written, suffix):
    """The empty one stopped the reader (duckdb/duckdb#13212)."""
    compress = COMPRESSIONS.get(suffix, bytes)
    written(f"set/1.json{suffix}", compress(b""))
    written(f"set/2.json{suffix}", b"")
    assert outcomes(written(f"set/3.json{suffix}", compress(as_lines("one"))).parent) == ["one"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
    ids=str,
)
def test_a_text_column_of_every_arrow_type_is_read(parquet_file, tmp_path, kind):
    """Categories of pandas were refused (huggingface/datasets#5706)."""
    texts = pa.array(["one", None, "two", "one"])
    if pa.types.is_dictionary(kind):
        texts = texts.dictionary_encode()
    table = pa.table({"text": texts.cast(kind)})
    expected = ["one", "<missing_text>", "two", "one"]
    assert outcomes(parquet_file("a.parquet", text=table["text"])) == expected
    with ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    assert outcomes(tmp_path / "a.arrow") == expected


def test_files_with_other_columns_are_read_and_rows_without_a_text_are_counted(
    parquet_file, tmp_path
):
    """A column that only one file has stopped the reader (huggingface/datasets#7449)."""
    parquet_file("set/1.parquet", text=["one"], label=[1])
    parquet_file("set/2.parquet", label=["two"], more=[{"a": 2}], text=["two"], title=["B"])
    parquet_file("set/3.parquet", text=pa.array([], pa.string()))
    assert outcomes(tmp_path / "set") == ["one", "B: two"]
    parquet_file("set/4.parquet", content=["four"])
    assert outcomes(tmp_path / "set") == ["one", "B: two", "<missing_text>"]


def test_files_that_spark_and_macos_write_beside_the_rows_are_not_read(
    parquet_file, written, tmp_path
):
    """They stopped the reader of a folder (pola-rs/polars#9396)."""
    part = parquet_file("set/year=2024/part-00000.snappy.parquet", text=["one"])
    written("set/_SUCCESS", b"")
    for name in (f".{part.name}.crc", f"._{part.name}"):
        written(f"set/year=2024/{name}", b"\0\5\x16\7")
    assert outcomes(tmp_path / "set") == ["one"]
    assert outcomes(tmp_path / "set/**/*.parquet") == ["one"]
    assert skipped_files(Source(str(tmp_path / "set"), shard_size=1)) == ["_SUCCESS"]


def test_a_set_that_datasets_saved_has_the_rows_of_its_arrow_files(written, tmp_path):
    """Its two JSON files were taken for the rows (huggingface/datasets#6642)."""
    names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
    about = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    written("saved/train/state.json", json.dumps(about).encode())
    written("saved/train/dataset_info.json", b'{"features": {"text": {"dtype": "string"}}}')
    for name, texts in zip((*names, "cache-1234.arrow"), (["one"], ["two"], ["old"]), strict=True):
        table = pa.table({"text": texts})
        with ipc.new_stream(tmp_path / "saved/train" / name, table.schema) as stream:
            stream.write_table(table)
    assert outcomes(tmp_path / "saved/train") == ["one", "two"]
    written("saved/dataset_dict.json", b'{"splits": ["train"]}')
    with pytest.raises(SourceError, match=r"Name the folder of a split, such as .*saved/train'"):
        outcomes(tmp_path / "saved")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("04-wiki-templates/numbers.xml", "Use Wikipedia in Parquet"),
        ("05-superscripts/powers.xml", "Use Wikipedia in Parquet"),
        ("08-warc-damage/*.gz", "Extract their texts to JSON lines"),
        ("08-warc-damage/sound.warc.wet.gz", "Extract their texts to JSON lines"),
        ("32-wikiextractor-doc/extracted", "run it with --json"),
        ("32-wikiextractor-doc/extracted/AA/wiki_00", "run it with --json"),
    ],
)
def test_given_files_of_forms_that_are_not_read_say_what_to_bring(test_data, path, said):
    with pytest.raises(SourceError) as refusal:
        outcomes(test_data / "cases" / path)
    assert said in str(refusal.value)


def test_the_given_set_of_save_to_disk_is_read(test_data):
    (text,) = outcomes(test_data / "cases/31-save-to-disk/saved")
    assert text.startswith("The mill at Oxney grinds 36 sacks a day")


@pytest.mark.parametrize("name", ["case", "empty-columns", "index", "two-line-ends"])
def test_given_headers_that_programs_export_are_read_by_their_names(test_data, name):
    source = Source(
        str(test_data / f"cases/30-csv-headers/{name}.csv"), text_column="name", shard_size=100
    )
    first = next(iter(read_documents(source, list_files(source))))
    assert isinstance(first, ParsedDocument)
    assert first.text == "Ann Holt"
