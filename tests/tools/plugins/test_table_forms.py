"""In which forms a table can be, and which are refused."""

import datetime
import gzip
import json
import random
import re
import time
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from tests.conftest import REPOSITORY
from tests.tools.plugins.tables import FACTS, NO_TEXT, answer
from tools.errors import ToolCallError, ToolSettingsError
from tools.plugins import table_tool
from tools.plugins.table_rows import Table


def test_a_wide_table_is_asked_by_the_names_of_its_columns(make):
    table = "name,birth_place,height\nBarack Obama,Honolulu,187\nAda Lovelace,,165\n"
    tool = make(table, key=["name"], values=["birth_place", "height"], aliases=["size = height"])
    assert answer(tool, "Barack Obama, birth place") == "Honolulu"
    assert answer(tool, "barack obama, Birth_Place") == "Honolulu"
    assert answer(tool, "Ada Lovelace, size") == "165"
    assert answer(tool, "Ada Lovelace, birth place") == "no_value"


def test_a_glossary_is_asked_by_the_term_alone(make):
    table = 'term,meaning\nlede,"first lines, of an article"\n"a, b",letters\n'
    tool = make(table, key=["term"], values=["meaning"])
    assert answer(tool, "Lede") == "first lines, of an article"
    assert answer(tool, "a, b") == "letters"
    assert tool.description == "Looks up meaning by term in a table."


def test_the_database_of_lmlm_is_a_table_by_the_query_of_the_page(tmp_path):
    page = (REPOSITORY / "docs" / "how-to" / "evaluate.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"`table: (select .*?)`", page)
    database = {
        "entities": ["Quispe", "Ada Lund"],
        "relationships": ["Birth Place", "Occupation"],
        "return_values": ["Lima", "Oslo", "judge"],
        "triplets": [
            ["Quispe", "Birth Place", "Lima"],
            ["Ada Lund", "Birth Place", "Oslo"],
            ["Ada Lund", "Occupation", "judge"],
        ],
    }
    file = tmp_path / "trex11k-annotator_database.json"
    file.write_text(json.dumps(database, indent=4))
    options = {"key": ["subj", "prop"], "values": ["obj"], "folder": str(tmp_path)}
    tool = table_tool.TableTool("Facts", query, **options)
    assert answer(tool, "quispe, birth place") == "Lima"
    assert answer(tool, "Ada Lund, Occupation") == "judge"


def test_a_third_key_column_follows_the_second(make):
    table = "city,year,object\nBerlin,2020,3.6\nBerlin,2021,3.7\n"
    tool = make(table, key=["city", "year"], values=["object"])
    assert answer(tool, "Berlin, 2021") == "3.7"
    table = "city,year,unit,object\nBerlin,2020,million,3.6\nBerlin,2020,thousand,3600\n"
    tool = make(table, key=["city", "year", "unit"])
    assert answer(tool, "Berlin, 2020, thousand") == "3600"


def test_aliases_name_relations_of_the_table(make):
    tool = make(aliases=["birthplace, born in = place of birth", "job=occupation"])
    assert answer(tool, "Barack Obama, Born in") == "Honolulu"
    assert answer(tool, "Ada Lovelace, job") == "mathematician; writer"
    for wrong in ("height = size", "birthplace", "field = occupation", " = occupation"):
        with pytest.raises(ToolSettingsError, match="cannot be used"):
            make(aliases=[wrong])
    with pytest.raises(ToolSettingsError, match="that no other relation has"):
        make(aliases=["job = occupation", "job = field"])


def test_several_values_are_joined_by_what_none_of_them_holds(make):
    def joined(*values):
        rows = "".join(f'x,y,"{value}"\n' for value in values)
        return answer(make(f"subject,relation,object\n{rows}"), "x, y")

    assert joined("b", "a", "b") == "a; b"
    assert joined(*["b"] * 1000, "a") == "a; b"
    assert joined("a, b", "c") == "a, b; c"
    assert joined("a;b", "c") == "a;b | c"
    assert joined("a;b|c", "d") == "too_many_values"
    assert joined(*(f"value number {number}" for number in range(40))) == "too_many_values"
    assert joined("x" * 500) == "x" * 500
    with pytest.raises(ToolCallError, match="1000 or more values"):
        make("subject,relation,object\n" + "".join(f"x,y,{n}\n" for n in range(2000))).call(
            "x, y", NO_TEXT
        )


@pytest.mark.parametrize(
    ("value", "other", "expected"),
    [
        (1941, 5, "1941"),
        (1941.0, 0.5, "1941"),
        (100.0, 0.5, "100"),
        (0.1, 0.5, "0.1"),
        (float("nan"), 0.5, "no_value"),
        (float("-inf"), 0.5, "no_value"),
        (None, 0.5, "no_value"),
        (Decimal("12.50"), Decimal("0.25"), "12.5"),
        (True, False, "true"),
        (datetime.date(1941, 3, 5), datetime.date(1, 1, 1), "1941-03-05"),
        (datetime.datetime(1941, 3, 5), datetime.datetime(1, 1, 1, 2), "1941-03-05"),
        (datetime.datetime(1, 1, 1, 2), datetime.datetime(1, 1, 1), "0001-01-01 02:00:00"),
        (" \t ", "x", "no_value"),
        ("", "x", "no_value"),
        (" a [b]\nc ", "x", "a [b]\nc"),
        ("1941.0", "x", "1941.0"),
    ],
)
def test_values_of_parquet_are_written_as_people_do(make, tmp_path, value, other, expected):
    # A second subject gives the relation a place in the table.
    rows = {
        "subject": ["a", "a", "a", "x"],
        "relation": ["b", "b", "c", "b"],
        "object": [value, None, other, other],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "facts.parquet")
    tool = make("facts.parquet", None)
    assert answer(tool, "a, b") == expected
    assert answer(tool, "a, c") not in {"no_value", "no_relation", "not_found"}


def test_json_lines_keep_what_is_written(make):
    lines = (
        '{"subject": "a", "relation": "year", "object": 1941.0}\n'
        '{"subject": "a", "relation": "day", "object": "1941-03-05T00:00:00Z"}\n'
        '{"subject": "a", "relation": "large", "object": 12345678901234567890123}\n'
        '{"subject": "a", "relation": "true", "object": true}\n'
        '{"subject": "a", "relation": "none", "object": null}\n{"subject": "b"}\n'
    )
    for name, content in {
        "facts.jsonl": lines.encode(),
        "facts.jsonl.gz": gzip.compress(lines.encode()),
    }.items():
        tool = make(content, name)
        assert answer(tool, "a, year") == "1941"
        assert answer(tool, "a, day") == "1941-03-05T00:00:00Z"
        assert answer(tool, "a, large") == "12345678901234567890123"
        assert answer(tool, "a, true") == "true"
        assert answer(tool, "a, none") == "no_relation"


def test_csv_is_taken_as_it_is_written(make):
    tool = make(
        "\ufeffsubject,relation,object\r\n007,code,0042\r\n"
        '"He said ""x""",code,"a\nb"\r\nb,code,\r\n'
    )
    assert answer(tool, "007, code") == "0042"
    assert answer(tool, 'He said "x", code') == "a\nb"
    assert answer(tool, "7, code") == "not_found"
    spaced = make('subject,relation,object\n" a \n b ",c\td, e \n')
    assert [answer(spaced, f"{name}, c d") for name in ("a b", "A  B")] == ["e", "e"]
    assert answer(make("subject\trelation\tobject\na\tb\tc,d\n", "t.tsv"), "a, b") == "c,d"
    assert answer(make(name="odd [1] * name=x.csv"), "IT, field") == "computing"


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "index of pandas": ",subject,relation,object\n0,Ann,age,7\n",
        "columns behind the last": "subject,relation,object,,\nAnn,age,7,,\n",
        "other case": "subject,Subject,relation,object\nAnn,Bo,age,7\n",
        "twice, not read": "subject,x,x,relation,object\nAnn,1,2,age,7\n",
        "separator": "sep=,\nsubject,relation,object\nAnn,age,7\n",
        "other separator": "SEP=;\r\nsubject;relation;object\r\nAnn;age;7\r\n",
        "semicolons": 'subject;relation;object\r\nAnn;age;7\r\n"C\r\n";"a;b";"1,5"\r\n',
    }.items(),
)
def test_what_programs_write_around_the_columns_is_read_past(make, name, content):
    assert answer(make(content), "Ann, age") == "7"
    for ending, packed in (("gz", gzip.compress), ("zst", zstandard.compress)):
        tool = make(packed(content.encode()), f"facts.csv.{ending}")
        assert answer(tool, "Ann, age") == "7"


def test_both_of_two_columns_that_differ_by_case_can_be_read(make):
    tool = make("name,Name\nAnn,A. Holt\n", key=["name"], values=["Name"])
    assert answer(tool, "Ann") == "A. Holt"


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("written_in", ["Asia/Tokyo", "+09:00"])
def test_a_time_is_that_of_the_zone_it_was_written_in(
    make, tmp_path, monkeypatch, zone, written_in
):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    times = [datetime.datetime(2024, 4, 30, 15), datetime.datetime(2024, 4, 30, 0, 30)]
    parquet.write_table(
        pa.table({"s": ["a", "b"], "day": pa.array(times, pa.timestamp("us", tz=written_in))}),
        tmp_path / "t.parquet",
    )
    tool = make("t.parquet", None, key=["s"], values=["day"])
    # Of a query the zone is not known.
    asked = make("from 't.parquet'", None, key=["s"], values=["day"])
    monkeypatch.undo()
    time.tzset()
    assert [answer(tool, name) for name in "ab"] == ["2024-05-01", "2024-04-30 09:30:00"]
    assert answer(asked, "a") == "2024-04-30 15:00:00"


def test_durations_are_refused(make, tmp_path):
    hours = pa.array([datetime.timedelta(hours=3)])
    parquet.write_table(pa.table({"s": ["a"], "lasts": hours}), tmp_path / "t.parquet")
    with pytest.raises(
        ToolSettingsError, match=r"column 'lasts' is of type duration.*Expected text"
    ):
        make("t.parquet", None, key=["s"], values=["lasts"])


def test_what_programs_write_for_no_value_is_none(make):
    words = ["NULL", "nan", "None", "\\N", "#N/A", "<NA>", "NaT", "NaN"]
    rows = "".join(
        f"{number},{word}\n" for number, word in enumerate([*words, "null", "None such"])
    )
    found = make(f"name,town\n{rows}", key=["name"], values=["town"])
    answers = [answer(found, str(number)) for number in range(10)]
    assert answers == [*["not_found"] * 8, "null", "None such"]
    given = make(f"name,town\n{rows}", key=["name"], values=["town"], missing=["null"])
    assert [answer(given, name) for name in "089"] == ["NULL", "not_found", "None such"]
    # A term may be what stands for none elsewhere.
    glossary = make("term,meaning\nNULL,no value\n", key=["term"], values=["meaning"])
    assert answer(glossary, "NULL") == "no value"
    lines = '{"a": "x", "b": NaN}\n{"a": "y", "b": -Infinity}\n{"a": "z", "b": 1.50}\n'
    tool = make(lines, "t.jsonl", key=["a"], values=["b"])
    assert [answer(tool, name) for name in "xyz"] == ["not_found", "not_found", "1.5"]


def test_reading_starts_as_many_threads_on_a_machine_of_many_cores(tmp_path):
    # Those of 16 cores do not start within the memory of a worker.
    query = (
        "select current_setting('threads') as workers, current_setting('async_threads') as others"
    )
    table = Table(query, ["workers"], ["others"], folder=str(tmp_path))
    assert [*table.facts()] == [("2", "", "2")]


def test_a_query_reads_files_of_the_folder(make, tmp_path):
    make()
    query = "select subject, relation, upper(object) as object from 'facts.csv' -- all of them\n;"
    tool = make(query, None)
    assert answer(tool, "Barack Obama, place of birth") == "HONOLULU"
    (tmp_path / "facts.csv").write_text(FACTS.replace("Honolulu", "Nairobi"))
    assert make(query, None).version != tool.version


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "name,object\na,b\n", r"no column 'subject'. Expected one of name, object"),
        ("a.csv", "", "'a.csv' cannot be read: .*at least a single column"),
        ("a.csv", "subject,subject\n", "more than one column 'subject'"),
        ("a.csv", "subject,relation,object\n", "no row with a key and a value"),
        ("a.csv", "subject,relation,object\na,b,\n,b,c\na,,c\n", "no row with a key and a value"),
        ("a.csv", "subject,relation,object\na,b,c\na,b,c,d\n", "Line: 3.*Expected Number of Col"),
        ("b.csv", "subject,relation,object\r\na,b,c\r\na,b,c,d\r\n", "Line: 3.*Expected Number"),
        ("c.csv", 'subject,relation,object\n"a\nb",b,c\na,b\n', "'c.csv'.*Line: 3.*Found: 2"),
        ("a.csv", "subject,relation,object\r\na,b,c\nd,e,f\r\n", "one kind of line breaks"),
        ("a.csv", b"subject,relation,object\na,b,c\xe4\n", "Line: 2.*not utf-8"),
        ("a.csv", 'subject,relation,object\na,b,"c\n', "unterminated quote"),
        ("a.csv", "subject:relation:object\na:b:c\n", "no column 'subject'.*subject:relation:"),
        ("a.csv", "subject;relation;value\na;b;c\n", "no column 'object'. Expected.*, value"),
        ("a.csv", random.Random(0).randbytes(2000), "cannot be read"),
        ("a.csv.gz", random.Random(0).randbytes(2000), "incorrect header check"),
        ("a.jsonl", random.Random(0).randbytes(2000), "cannot be read: .*JSON"),
        ("a.parquet", random.Random(0).randbytes(2000), "magic bytes not found"),
        ("a.jsonl", '{"subject": "a", "relation": "b", "object": [1]}\n', "lists or objects"),
        ("a.jsonl", '{"subject": "a", "relation": "b", "object": {"x": 1}}', "'object' is of type"),
        (
            "a.jsonl",
            '{"subject": "a", "relation": "b"}\n[1]\n',
            "'a.jsonl'.*line 2: Expected OBJECT",
        ),
        ("a.jsonl", '{"subject": "a", "subject": "b"}', "line 1: .*duplicate key"),
        ("a.xlsx", "x", "no known file type.*ends with .csv"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid x\n", "Git LFS pointer"),
        (None, "missing.csv", "'missing.csv' cannot be read: No such file"),
        (None, ".", "Is a directory"),
        (None, "/dev/zero", "it is not a regular file"),
        (None, "~nouser/a.csv", "~nouser/a.csv' cannot be read"),
        (None, "a\0b.csv", r"a\\x00b.csv' cannot be read: .*embedded null"),
        (None, "from missing.csv", "No files found"),
        (None, "select 1; select 2", "cannot be read: .*syntax error"),
        (None, "with x as (copy (select 1) to 'evil.csv') from x", "COPY statement"),
        (None, "with x as (select 1) insert into x values (1)", "cannot be read: .*syntax error"),
        (None, "from 'https://example.org/a.csv'", "requires the extension httpfs"),
        (
            None,
            "select 'a' as subject, 'b' as relation, {x: 1} as object",
            "'object' is of type struct",
        ),
        (None, "select 'a' as subject, 'b' as relation, [1] as object", "is of type list"),
        (None, "select 'a'::blob as subject, 'b' as relation, 1 as object", "is of type binary"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_sentence(
    make, tmp_path, name, content, told
):
    with pytest.raises(ToolSettingsError, match=f"^Facts: .*{told}") as refused:
        make(content, name)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")
    assert {path.name for path in tmp_path.iterdir()} <= {name}


ROWS = {
    "csv": b"s,r,o\nAnn,age,7\nBo,age,8\nCyd,town,Oxney\nDan,age,8\n",
    "jsonl": b'{"s": "Ann", "r": "age", "o": "7"}\n{"s": "Bo", "r": "town", "o": "Lund"}\n',
}
COMPRESSED = {
    "csv.gz": gzip.compress(ROWS["csv"]),
    "jsonl.gz": gzip.compress(ROWS["jsonl"]),
    "jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(ROWS["jsonl"]),
}


@pytest.mark.parametrize(("table", "kind"), [*((f"t.{kind}", kind) for kind in COMPRESSED)])
def test_every_flipped_bit_of_a_compressed_file_is_refused_or_changes_nothing(
    tmp_path, table, kind
):
    def facts():
        return sorted(Table(table, ["s", "r"], ["o"], folder=str(tmp_path)).facts())

    whole, file = COMPRESSED[kind], tmp_path / f"t.{kind}"
    file.write_bytes(whole)
    right, refused = facts(), 0
    # Of the other forms some bits, of each place in a byte.
    step = 1 if table == "t.csv.gz" else 11
    for bit in range(0, len(whole) * 8, step):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            assert facts() == right
        except ToolSettingsError:
            refused += 1
    assert refused > len(whole) * 8 / step / 2
    for length in range(0, len(whole), step):
        file.write_bytes(whole[:length])
        with pytest.raises(ToolSettingsError):
            facts()


def test_a_compressed_file_that_breaks_off_between_two_rows_is_refused(make):
    rows = "".join(f"n{number * 7919 % 99991},age,{number}\n" for number in range(60_000))
    whole = zstandard.ZstdCompressor().compress(f"subject,relation,object\n{rows}".encode())
    assert answer(make(whole, "t.csv.zst"), "n7919, age") == "1"
    for share in (0.5, 0.7, 0.99):
        with pytest.raises(ToolSettingsError, match=r"t.csv.zst' cannot be read: Truncated"):
            make(whole[: int(len(whole) * share)], "t.csv.zst")


@pytest.mark.parametrize("settings", [{"key": "subject"}, {"values": []}, {"aliases": "a = b"}])
def test_settings_of_another_form_are_refused(make, settings: dict[str, Any]):
    with pytest.raises(ToolSettingsError, match=r"not allowed|a valid list|should have at least 1"):
        make(**settings)
