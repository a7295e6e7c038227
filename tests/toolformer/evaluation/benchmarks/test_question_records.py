"""Formats, damage and bombs, seen through benchmarks."""

import bz2
import datetime
import gzip
import json
import lzma
from functools import partial

import polars as pl
import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    left_out_of,
    own,
    shipped,
    write_lines,
)
from toolformer.evaluation.benchmarks import question_records
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem

ROWS = [{"question": f"who built bridge {n}", "answer": ["Ada", "Ada Lund"]} for n in range(1, 4)]


LINES = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nq.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("nq.jsonl.bz2", bz2.compress(LINES)),
        ("nq.jsonl.xz", lzma.compress(LINES)),
        ("nq.json", json.dumps(ROWS).encode()),
        ("nq.json", json.dumps(ROWS, indent=2).encode()),
        # A byte order mark does not matter.
        ("nq.jsonl", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n")),
    ],
)
def test_packed_lines_and_arrays_give_the_items_of_lines(tmp_path, name, content):
    plain = items_of(shipped("nq", write_lines(tmp_path / "nq.jsonl", *ROWS)))
    assert [item.item_id for item in plain] == ["nq-1", "nq-2", "nq-3"]
    (tmp_path / name).write_bytes(content)
    assert items_of(shipped("nq", tmp_path / name)) == plain


@pytest.mark.parametrize("is_list", [True, False])
def test_parquet_gives_the_items_of_lines(tmp_path, is_list: bool):
    days = [datetime.date(2014, 3, day) for day in (30, 31)]
    answers = [["Ada", 'say "Ada"'], ["12"]]
    rows = [
        {
            "id": number,
            "asked": "who?",
            "known": known if is_list else json.dumps(known),
            "day": day,
        }
        for number, (known, day) in enumerate(zip(answers, days, strict=True))
    ]
    described = partial(own, "own", question="asked", answers="known", date="day")
    lines = write_lines(tmp_path / "own.jsonl", *({**row, "day": str(row["day"])} for row in rows))
    plain = items_of(described(lines))
    assert [(item.gold, item.current_date) for item in plain] == [
        (tuple(known), day) for known, day in zip(answers, days, strict=True)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "own.parquet")
    assert items_of(described(tmp_path / "own.parquet")) == plain


def test_parquet_that_is_none_or_damaged_or_lacks_columns_is_told(tmp_path):
    file = tmp_path / "nq.parquet"
    file.write_text("question,answer\nwho,Ada\n")
    with pytest.raises(BenchmarkFileError, match=r"begins with 'question,.*Expected .*Parquet"):
        list(shipped("nq", file).items())
    pl.DataFrame({"query": ["who"]}).write_parquet(file)
    with pytest.raises(BenchmarkFileError, match=r"columns query\. Expected a column"):
        list(shipped("nq", file).items())
    pl.DataFrame({"question": ["who"]}).write_parquet(file)
    assert (
        "'answers' or 'aliases' is missing" in left_out_of(shipped("nq", file))["nq.parquet, row 1"]
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(BenchmarkFileError, match=r"cannot be read to its end: .*Parquet"):
        list(shipped("nq", file).items())


def test_reading_goes_on_after_a_bad_line(tmp_path):
    file, row = tmp_path / "nq.jsonl", json.dumps(ROWS[0]).encode()
    bad = (b'{"question": "torn', b"[1, 2]", b"\x00", row.replace(b"built", b"b\xfclt"))
    deep = b'{"question": ' + b"[" * 200_000 + b"}"
    file.write_bytes(b"\n".join([*bad, row, b"", deep, row]))
    entries = list(shipped("nq", file).items())
    items = [entry.item_id for entry in entries if isinstance(entry, BenchmarkItem)]
    assert items == ["nq-5", "nq-8"]
    rejected = [f"nq.jsonl, row {number}" for number in (1, 2, 3, 4, 7)]
    assert list(left_out_of(shipped("nq", file))) == rejected


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"answer": ["Ada"]}, "question"),
        ({"question": None, "answer": ["Ada"]}, "question"),
        ({"question": " ", "answer": ["Ada"]}, "question"),
        ({"question": ["who"], "answer": ["Ada"]}, "question"),
        ({"question": "who \ud800", "answer": ["Ada"]}, "question"),
        ({"question": "who"}, "answers"),
        ({"question": "who", "answer": []}, "answer"),
        ({"question": "who", "answer": ["", " "]}, "answer"),
        ({"question": "who", "answer": ["Ada", None]}, "answer"),
    ],
)
def test_a_rejected_row_names_its_column_and_the_others_are_read(tmp_path, row, column):
    benchmark = shipped("nq", write_lines(tmp_path / "nq.jsonl", ROWS[0], row, ROWS[1]))
    assert sum(isinstance(entry, BenchmarkItem) for entry in benchmark.items()) == 2
    ((place, reason),) = left_out_of(benchmark).items()
    assert place == "nq.jsonl, row 2"
    assert f"'{column}'" in reason.partition(" expected a text")[0]


def test_ids_that_occur_twice_are_told_apart(tmp_path):
    rows = [{"id": name, **ROWS[0]} for name in ("a", "a", "a#2", "a", 7)]
    items = items_of(shipped("nq", write_lines(tmp_path / "nq.jsonl", *rows)))
    assert [item.item_id for item in items] == ["a", "a#2", "a#2#2", "a#3", "7"]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n \n", b"question,answer\nwho,Ada\n", b"\xff\xfe{\x00", b'{\n "rows": 1\n}'),
        *(b"[1, 2", b"{\n", b'{"text": "a"}\n{"text": "b"}\n', b"[]", b"{torn}\n{torn}"),
    ],
)
def test_a_file_of_an_unknown_format_is_refused(tmp_path, content):
    file = tmp_path / "nq.jsonl"
    file.write_bytes(content)
    with pytest.raises(BenchmarkFileError, match="xpected"):
        list(shipped("nq", file).items())


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path):
    for path in (tmp_path / "nq.jsonl", tmp_path):
        with pytest.raises(BenchmarkFileError, match=path.name):
            list(shipped("nq", path).items())


def test_a_truncated_file_gives_what_stands_before_and_then_an_error(tmp_path):
    rows = [{"question": f"who is number {n * 7919 % 10_007}", "answer": "x"} for n in range(9_000)]
    whole = write_lines(tmp_path / "nq.jsonl", *rows)
    file = tmp_path / "cut.jsonl.gz"
    file.write_bytes(gzip.compress(whole.read_bytes())[:-20])
    entries, read = shipped("nq", file).items(), []
    with pytest.raises(BenchmarkFileError, match="cannot be read to its end"):
        read.extend(iter(lambda: next(entries), None))
    assert len(read) > 1_000


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(question_records, "_MAX_BYTES", 1 << 20)
    file = tmp_path / "nq.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"question": "' + b"a" * (2 << 20)))
    with pytest.raises(BenchmarkFileError, match="a line has more than"):
        list(shipped("nq", file).items())


def test_the_entities_of_an_xml_bomb_are_not_expanded(tmp_path):
    names = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    file = tmp_path / "asdiv.xml"
    file.write_text(
        f'<!DOCTYPE x [<!ENTITY e0 "0123456789">{names}]><x><Problem ID="1"><Body>&e9;</Body>'
        "</Problem></x>"
    )
    with pytest.raises(BenchmarkFileError, match="amplification factor"):
        list(shipped("asdiv", file).items())


def test_xml_that_stops_gives_what_stands_before_and_then_an_error(tmp_path):
    problem = "<Body>Two mice.</Body><Question>How many?</Question><Answer>2 (mice)</Answer>"
    problems = "\n".join(f'<Problem ID="p{n}">{problem}</Problem>' for n in range(200))
    file = tmp_path / "asdiv.xml"
    file.write_text(f"<x><ProblemSet>{problems}\n<Problem")
    entries, read = shipped("asdiv", file).items(), []
    with pytest.raises(BenchmarkFileError, match="cannot be read to its end"):
        read.extend(iter(lambda: next(entries), None))
    assert len(read) == 200
    for encoding in ("Shift_JIS", "klingon"):
        file.write_text(f'<?xml version="1.0" encoding="{encoding}"?>\n<x></x>')
        with pytest.raises(BenchmarkFileError, match="cannot be read to its end"):
            list(shipped("asdiv", file).items())
