"""A table of the user's own as a tool."""

import datetime
import gzip
import itertools
import os
import random
import sqlite3
import string
import subprocess
import sys
import time
from copy import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from toolformer.home.home import Home
from toolformer.home.settings.settings_file import load_settings
from toolformer.home.wiring.toolbox import open_tool
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError, ToolUnavailableError
from tools.plugins import table_tool
from tools.plugins.table_index import TableIndex
from tools.plugins.table_names import are_near, folded
from tools.plugins.table_rows import Table
from tools.plugins.table_tool import TABLE_TOOL, TableTool
from tools.prompting import demonstrations_of, load_prompt
from tools.protocol import Document
from tools.registry import create_tool
from tools.running.contract import Trial, check_contract

NO_TEXT = Document("d", "")
FACTS = """subject,relation,object
Barack Obama,place of birth,Honolulu
Barack Obama,year of birth,1961
Peter F. Martin,year of birth,1941
"Müller, Sohn & Co",founded in,Köln
Ada Lovelace,occupation,writer
Ada Lovelace,occupation,mathematician
Albert Einstein,place of birth,Ulm
#5,place of birth,Nowhere
IT,field,computing
It,field,horror
"""


@pytest.fixture
def make(tmp_path):
    """Makes a tool of a table, given as text of a file or as a query."""

    def make_tool(content=FACTS, name="facts.csv", **settings: Any):
        table = content
        if name is not None:
            (tmp_path / name).write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
            table = name
        given: dict[str, Any] = {"key": ["subject", "relation"], "values": ["object"], **settings}
        return TableTool("Facts", table, folder=str(tmp_path), **given)

    return make_tool


def answer(tool, arguments):
    try:
        return tool.call(tool.parse_arguments(arguments), NO_TEXT)
    except (CallSyntaxError, ToolCallError) as error:
        return error.reason


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    {
        "Barack Obama, place of birth": "Honolulu",
        "BARACK  obama,Place_of_Birth": "Honolulu",
        "Peter F Martin, year of birth": "1941",
        "Müller, Sohn & Co, founded in": "Köln",
        "muller sohn & co, founded in": "Köln",
        "Albert Einstien, place of birth": "Ulm",
        "Ada Lovelace, occupation": "mathematician; writer",
        "#5, place of birth": "Nowhere",
        "IT, field": "computing",
        "It, field": "horror",
        "it, field": "ambiguous",
        "Barack Obama, height": "no_relation",
        "Ada Lovelace, place of birth": "no_value",
        "Michelle Obama, place of birth": "not_found",
        "5, place of birth": "not_found",
        "Albert Einsteins, place of birth": "not_found",
        ", place of birth": "not_found",
        "Barack Obama": "no_relation_given",
        "x" * 301 + ", field": "too_long",
        "\ud800, field": "not_found",
    }.items(),
)
def test_a_call_finds_the_name_that_is_meant_and_no_other(make, arguments, expected):
    assert answer(make(), arguments) == expected


def test_messages_name_what_the_table_has(make):
    tool = make()
    for arguments, told in {
        "it, field": "may be IT, It",
        "Ada Lovelace, place of birth": "it has occupation",
        "Ada Lovelace, age": "Expected field, founded in, occupation",
    }.items():
        with pytest.raises(ToolCallError, match=told):
            tool.call(arguments, NO_TEXT)


def test_a_slip_that_fits_two_names_is_refused(make):
    table = "subject,relation,object\nCharlotte Lee,age,4\nCharlottte Lee,age,5\n"
    assert answer(make(table), "Chalrottte Lee, age") == "5"
    two = "subject,relation,object\nJohannesburg,age,4\nJohannsseburg,age,5\n"
    assert are_near("johannseburg", "johannesburg")
    assert are_near("johannseburg", "johannsseburg")
    assert answer(make(two), "Johannseburg, age") == "ambiguous"


def test_names_that_are_told_apart_by_little_are_never_near():
    for name, other in (
        ("john miller", "john milner"),
        ("henry vii", "henry viii"),
        ("george w bush", "george h bush"),
        ("bob johnson", "bob johnston"),
        ("south australia", "south australian"),
        ("pope adrian", "pope hadrian"),
        ("road 12345678", "road 12354678"),
        ("shahrukh khan", "shah rukh khan"),
        ("the crusades", "the crusaders"),
        ("same name", "same name"),
        ("ronald macdonald", "ronald mcdonald"),
        ("johnathan swift", "jonathan swift"),
        ("ernst schuhmacher", "ernst schumacher"),
    ):
        assert not are_near(name, other)
        assert not are_near(other, name)


def test_a_word_that_another_name_of_the_table_has_is_no_slip(make):
    rows = "Nancy Kristen,1\nKirsten Dunst,2\nAnn Patterson,3\nBo Paterson,4\nEva Petterson,5\n"
    tool = make(f"name,age\n{rows}", key=["name"], values=["age"])
    assert answer(tool, "Nancy Kristne") == "not_found"
    assert answer(tool, "Nancy Krsiten") == "1"
    assert answer(tool, "Nancy Kirsten") == "not_found"
    assert answer(tool, "Ann Paterson") == "not_found"
    assert answer(tool, "Ann Pattersno") == "not_found"
    assert answer(tool, "Ann Pattresno") == "not_found"
    assert answer(tool, "Ann Pattesron") == "3"


def test_near_names_are_found_wherever_the_slip_is(make):
    """The index, which looks at halves, finds exactly what comparing with every name finds."""
    numbers = random.Random(3)
    letters = string.ascii_lowercase[:3]
    names = {
        " ".join("".join(numbers.choices(letters, k=size)) for size in sizes)
        for sizes in numbers.choices([(9,), (6,), (3, 9), (9, 3), (10, 10)], k=300)
    }
    table = "subject,relation,object\n" + "".join(f"{name},age,1\n" for name in names)
    index = make(table).index
    slips = 0
    for name in sorted(names):
        for place in range(len(name) - 1):
            for written in (
                name[:place] + name[place + 1] + name[place] + name[place + 2 :],
                name[:place] + name[place + 1 :],
                name[:place] + "b" + name[place:],
                name[:place] + "b" + name[place + 1 :],
            ):
                expected = sorted(each for each in names if are_near(written, each))
                changed = {w for each in expected for w in set(written.split()) - set(each.split())}
                if changed & {word for each in names for word in each.split()}:
                    expected = []
                assert index.near_subjects(written) == expected
                slips += bool(expected)
    assert slips > 500


def test_folding_keeps_what_tells_names_apart():
    assert folded("São_Paulo") == folded(" SAO  PAULO ") == folded("Sao-Paulo")
    assert folded("Œuvre of Łódź") == "oeuvre of lodz"
    assert len({folded(name) for name in ("C", "C#", "C++", "C*")}) == 4
    assert len({folded(name) for name in ("3.5", "35", "3 5", "-5", "5", "3-5", "3/5")}) == 7
    # Marks of other scripts make other letters.
    assert folded("ガキ") != folded("カキ")


# --- the form of the table ------------------------------------------------------------------------


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
    with pytest.raises(ToolSettingsError, match="stand for no other"):
        make(aliases=["job = occupation", "job = field"])


def test_several_values_are_joined_by_what_none_of_them_holds(make):
    def joined(*values):
        rows = "".join(f'x,y,"{value}"\n' for value in values)
        return answer(make(f"subject,relation,object\n{rows}"), "x, y")

    assert joined("b", "a", "b") == "a; b"
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
        "both line ends": 'subject,relation,object\r\nAnn,age,"7"\nBo,age,8\r\n"C\r\n",age,9\n',
    }.items(),
)
def test_what_programs_write_around_the_columns_is_read_past(make, name, content):
    assert answer(make(content), "Ann, age") == "7"
    assert answer(make(gzip.compress(content.encode()), "facts.csv.gz"), "Ann, age") == "7"


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
    with pytest.raises(ToolSettingsError, match=r"column 'lasts' is of type DURATION. Expected"):
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
    with Table(query, ["workers"], ["others"], tmp_path, missing=[], most=9).opened() as table:
        assert [fact[:3] for fact in table] == [("2", "", "2")]


def test_a_query_reads_files_of_the_folder(make, tmp_path):
    make()
    query = "select subject, relation, upper(object) as object from 'facts.csv'; -- all of them"
    tool = make(query, None)
    assert answer(tool, "Barack Obama, place of birth") == "HONOLULU"
    (tmp_path / "facts.csv").write_text(FACTS.replace("Honolulu", "Nairobi"))
    assert make(query, None).version != tool.version


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "name,object\na,b\n", r"no column 'subject'. Expected one of name, object"),
        ("a.csv", "", r"begins with ''. Expected a line with a name for each column"),
        ("a.csv", "subject,subject\n", "begins with 'subject,subject'.*each that is read once"),
        ("a.csv", "subject,relation,object\n", "no row with a key and a value"),
        ("a.csv", "subject,relation,object\na,b,\n,b,c\na,,c\n", "no row with a key and a value"),
        ("a.csv", "subject,relation,object\na,b,c\na,b,c,d\n", "Line: 3.*Expected Number of Col"),
        ("b.csv", "subject,relation,object\r\na,b,c\na,b,c,d\r\n", "Line: 3.*Expected Number"),
        ("a.csv", 'subject,relation,object\na,b,"c\n', "unterminated quote"),
        ("a.csv", "subject;relation;object\na;b;c\n", "no column 'subject'"),
        ("a.csv", random.Random(0).randbytes(2000), "cannot be read"),
        ("a.csv.gz", random.Random(0).randbytes(2000), "not a GZIP stream"),
        ("a.jsonl", random.Random(0).randbytes(2000), "cannot be read: .*JSON"),
        ("a.parquet", random.Random(0).randbytes(2000), "No magic bytes"),
        ("a.jsonl", '{"subject": "a", "relation": "b", "object": [1]}\n', "lists or objects"),
        ("a.jsonl", '{"subject": "a", "relation": "b", "object": {"x": 1}}', "'object' holds"),
        ("a.xlsx", "x", "of no known kind.*ends in .csv"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid x\n", "pointer of Git LFS"),
        (None, "missing.csv", "No such file.*Expected a file"),
        (None, ".", "it is a folder"),
        (None, "/dev/zero", "it is no regular file"),
        (None, "~nouser/a.csv", "~nouser/a.csv' cannot be read"),
        (None, "a\0b.csv", r"a\\x00b.csv' cannot be read \(.*embedded null"),
        (None, "from missing.csv", "No files found"),
        (None, "select 1; select 2", "the query is SELECT, SELECT. Expected one select"),
        (None, "with x as (copy (select 1) to 'evil.csv') from x", "COPY statement"),
        (None, "with x as (select 1) insert into x values (1)", "is INSERT. Expected one select"),
        (None, "from 'https://example.org/a.csv'", "requires the extension httpfs"),
        (None, "select 'a' as subject, 'b' as relation, {x: 1} as object", "'object' is of type S"),
        (None, "select 'a' as subject, 'b' as relation, [1] as object", "is of type INTEGER"),
        (None, "select 'a'::blob as subject, 'b' as relation, 1 as object", "is of type BLOB"),
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


def test_a_file_of_ten_gigabytes_is_refused_before_it_is_read(make, tmp_path):
    with (tmp_path / "large.csv").open("wb") as stream:
        stream.truncate(10 * 10**9)
    with pytest.raises(ToolSettingsError, match=r"large.csv' has 10.0 GB. Expected at most 2 GB"):
        make("large.csv", None)


def test_more_rows_than_an_index_can_hold_are_refused(make, monkeypatch):
    monkeypatch.setattr(table_tool, "_MOST_FACTS", 19)
    assert answer(make(), "IT, field") == "computing"
    monkeypatch.setattr(table_tool, "_MOST_FACTS", 9)
    with pytest.raises(ToolSettingsError, match=r"more than 9 values. Expected at most so many"):
        make()
    monkeypatch.setattr(table_tool, "_MOST_FACTS", 19)
    with pytest.raises(ToolSettingsError, match=r"has more than 19 values"):
        make(key=["subject"], values=["relation", "object"])


@pytest.mark.parametrize("settings", [{"key": "subject"}, {"values": []}, {"aliases": "a = b"}])
def test_settings_of_another_form_are_refused(make, settings: dict[str, Any]):
    with pytest.raises(ToolSettingsError, match=r"Expected it to be|should have at least 1"):
        make(**settings)


# --- the index ------------------------------------------------------------------------------------


def test_an_index_is_used_again_until_the_table_changes(make, tmp_path, monkeypatch):
    settings = {"index_folder": str(tmp_path / "index")}
    first = make(**settings)
    with monkeypatch.context() as patch:
        patch.setattr("tools.plugins.table_rows.Table.opened", None)
        again = TableTool(
            "Facts",
            "facts.csv",
            ["subject", "relation"],
            ["object"],
            folder=str(tmp_path),
            index_folder=settings["index_folder"],
        )
    assert again.version == first.version
    changed = make(FACTS.replace("Honolulu", "Hilo"), **settings)
    assert changed.version != first.version
    assert answer(changed, "Barack Obama, place of birth") == "Hilo"
    # Whoever has the one before goes on with it.
    assert answer(first, "Barack Obama, place of birth") == "Honolulu"
    assert len(indexes(tmp_path / "index")) == 1


def indexes(folder: Path):
    assert {path.suffix for path in folder.iterdir()} == {".sqlite"}
    return sorted(folder.iterdir())


@pytest.mark.parametrize("replaced", ["before it is opened", "while it is read", "behind it"])
def test_a_table_that_is_replaced_while_it_is_read_is_read_again(
    make, tmp_path, monkeypatch, replaced
):
    now = iter(["Nairobi", "Hilo"])

    def write():
        (tmp_path / "facts.csv").write_text(FACTS.replace("Honolulu", next(now, "Hilo")))

    if replaced == "before it is opened":
        opened = Table.opened
        monkeypatch.setattr(Table, "opened", lambda table: (write(), opened(table))[1])
    elif replaced == "while it is read":
        read = Table._read
        monkeypatch.setattr(Table, "_read", lambda *given: (write(), read(*given))[1])
    else:
        wrote = table_tool.write_index
        monkeypatch.setattr(table_tool, "write_index", lambda *given: (wrote(*given), write()))
    with pytest.raises(ToolSettingsError, match="became another whenever it was read, 3 times"):
        make(index_folder=str(tmp_path / "index"))
    monkeypatch.undo()
    tool = make(FACTS.replace("Honolulu", "Hilo"), index_folder=str(tmp_path / "index"))
    assert answer(tool, "Barack Obama, place of birth") == "Hilo"
    assert tool.version == make(FACTS.replace("Honolulu", "Hilo")).version


def test_the_version_is_that_of_the_rows_that_were_read(make, tmp_path, monkeypatch):
    changes = iter([FACTS.replace("Honolulu", "Nairobi")])
    state = Table.state

    def state_and_change(table):
        found = state(table)
        for content in changes:
            (tmp_path / "facts.csv").write_text(content)
        return found

    monkeypatch.setattr(Table, "state", state_and_change)
    tool = make()
    assert answer(tool, "Barack Obama, place of birth") == "Nairobi"
    assert tool.version == make(FACTS.replace("Honolulu", "Nairobi")).version
    query = "from 'facts.csv'"
    changes = iter([FACTS])
    tool = make(query, None)
    assert answer(tool, "Barack Obama, place of birth") == "Honolulu"
    assert tool.version == make(FACTS).version


def test_a_table_that_breaks_while_it_is_read_and_is_whole_again_is_used(
    make, tmp_path, monkeypatch
):
    contents = iter(['subject,relation,object\na,b,"c\n', FACTS])
    opened = Table.opened

    def change_and_open(table):
        for content in itertools.islice(contents, 1):
            (tmp_path / "facts.csv").write_text(content)
        return opened(table)

    monkeypatch.setattr(Table, "opened", change_and_open)
    assert answer(make(), "Barack Obama, place of birth") == "Honolulu"


def test_tools_with_other_options_share_no_index(make, tmp_path):
    given = {"index_folder": str(tmp_path / "index")}
    wide = "subject,relation,object\nBarack Obama,place of birth,Honolulu\n"
    tools = [make(wide, **given), make(wide, key=["subject"], values=["relation"], **given)]
    other = tmp_path / "other"
    other.mkdir()
    (other / "facts.csv").write_text(wide.replace("Honolulu", "Hilo"))
    tools.append(
        TableTool(
            "Facts", "facts.csv", ["subject", "relation"], ["object"], folder=str(other), **given
        )
    )
    kept = indexes(tmp_path / "index")
    assert len(kept) == 3
    written = [path.stat().st_ino for path in kept]
    TableTool("Facts", "facts.csv", ["subject"], ["relation"], folder=str(tmp_path), **given)
    assert [path.stat().st_ino for path in kept] == written
    asked = ["Barack Obama, place of birth", "Barack Obama", "Barack Obama, place of birth"]
    answers = [answer(tool, text) for tool, text in zip(tools, asked, strict=True)]
    assert answers == ["Honolulu", "place of birth", "Hilo"]


def test_an_index_that_nobody_used_for_a_month_goes(make, tmp_path):
    given = {"index_folder": str(tmp_path / "index")}
    make(**given)
    make(key=["subject"], values=["relation"], **given)
    first, second = indexes(tmp_path / "index")
    for file, days in ((first, 29), (second, 31)):
        os.utime(file, (time.time() - days * 86400,) * 2)
    make(values=["relation"], key=["object"], **given)
    left = indexes(tmp_path / "index")
    assert first in left
    assert second not in left
    assert len(left) == 2


def test_one_run_among_several_that_is_killed_leaves_the_others_an_index(tmp_path):
    (tmp_path / "facts.csv").write_text(FACTS)
    code = (
        "import os, sys; from tools.plugins import table_index, table_tool as t; "
        "connect = table_index.sqlite3.connect; "
        "table_index.sqlite3.connect = lambda file, **o: "
        "os._exit(9) if 'tmp' in str(file) and sys.argv[1] == 'dies' else connect(file, **o); "
        "tool = t.TableTool('Facts', 'facts.csv', ['subject', 'relation'], ['object'], "
        "folder='.', index_folder='index'); "
        "print(tool.call('Barack Obama, place of birth', None))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, kind], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for kind in ("dies", "lives", "lives", "dies")
    ]
    told = [run.communicate()[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [9, 0, 0, 9]
    assert told == ["", "Honolulu", "Honolulu", ""]


def test_an_index_that_cannot_be_read_is_made_anew(make, tmp_path):
    settings = {"index_folder": str(tmp_path / "index")}
    version = make(**settings).version
    (file,) = indexes(tmp_path / "index")
    for damage in (b"", b"garbage" * 1000, file.read_bytes()[:5000]):
        file.write_bytes(damage)
        tool = make(**settings)
        assert tool.version == version
        assert answer(tool, "Barack Obama, year of birth") == "1961"


def test_a_flipped_bit_of_an_index_gives_no_other_answer(make, tmp_path):
    settings = {"index_folder": str(tmp_path / "index")}
    first = make(**settings)
    calls = [f"{fact.subject}, {fact.relation}" for fact in first.index.first_facts(20)]
    right = [answer(first, call) for call in calls]
    (file,) = indexes(tmp_path / "index")
    whole = file.read_bytes()
    numbers, refused = random.Random(1), 0
    for _ in range(300):
        place = numbers.choice([n for n in range(len(whole)) if whole[n]])
        file.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << numbers.randrange(8)]) + whole[place + 1 :]
        )
        try:
            index = TableIndex(file)
        except (sqlite3.Error, ValueError):
            continue
        damaged = copy(first)
        damaged.index = index
        for call, expected in zip(calls, right, strict=True):
            try:
                found = answer(damaged, call)
            except ToolUnavailableError as error:
                refused += "Remove that file" in error.remedy
            else:
                assert found in {expected, "not_found", "no_relation", "no_value"} or (
                    set(found.split("; ")) < set(expected.split("; "))
                )
    assert refused > 10


def test_a_failed_index_leaves_nothing(make, tmp_path):
    with pytest.raises(ToolSettingsError):
        make(
            '{"subject": "a", "relation": "b", "object": [1]}',
            "a.jsonl",
            index_folder=str(tmp_path),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_the_version_names_what_answers_depend_on(make):
    first = make()
    rows = FACTS.splitlines(keepends=True)
    reordered = make("".join([rows[0], *rows[:0:-1]]))
    assert reordered.version == first.version
    assert answer(reordered, "Ada Lovelace, occupation") == "mathematician; writer"
    aliased = make(aliases=["job = occupation"])
    assert aliased.version != first.version
    assert aliased.sampling_version == first.sampling_version


def test_many_facts_of_one_name_cost_no_more(make):
    index: TableIndex = make(
        "subject,relation,object\n" + "".join(f"a,r{n},{n}\n" for n in range(5000))
    ).index
    assert len(index.facts_of("a")) == 1000
    assert index.values("a", "r4999") == ["4999"]


# --- places and prompts ---------------------------------------------------------------------------


def proposed(tool, text):
    return [
        (each.arguments, text[each.offset :].split(" ")[0])
        for each in tool.proposals(Document("d", text))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "Peter F Martin (born 1941) is a politician.": [("Peter F Martin, year of birth", "1941)")],
        "BARACK OBAMA came from Honolulu. In 1961 Honolulu was small.": [
            ("BARACK OBAMA, place of birth", "Honolulu."),
            ("BARACK OBAMA, year of birth", "1961"),
        ],
        "In Honolulu lived Barack Obama, and Honolulu was small.": [],
        "In 1961, Barack Obama was born.": [],
        "Barack Obama won 19612 votes and 1961.5 crowns in Honolulus.": [],
        "barack obama was born in Honolulu.": [],
        "It was horror.": [("It, field", "horror.")],
        "it was horror.": [],
        "He met Barack. Obama came from Honolulu.": [],
        "Barack\nObama came from Honolulu.": [],
        "The Müller, Sohn & Co works of KÖLN": [("Müller, Sohn & Co, founded in", "KÖLN")],
        "Albert Einstien came from Ulm.": [],
        "": [],
    }.items(),
)
def test_values_are_proposed_that_follow_their_subject_for_the_first_time(make, text, expected):
    tool = make()
    assert proposed(tool, text) == expected
    assert tool.preselect(Document("d", text)).is_selected == bool(expected)
    for arguments, value in expected:
        assert answer(tool, arguments).casefold() in value.casefold()


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "张伟民出生于北京，后来搬到了上海。": [("张伟民", "北京")],
        "昨日、山田花子は京都で生まれた。": [("山田花子", "京都")],
        "山田 花子さんは京都の人": [("山田 花子", "京都")],
        "아침에 김철수는 서울에서 왔다": [("김철수", "서울")],
        "วันนี้สมชายไปเชียงใหม่แล้ว": [("สมชาย", "เชียงใหม่")],
        "Ann Holt出生于Oxney。": [("Ann Holt", "Oxney")],
        "张伟，民出生于北京": [],
        "Joann Holt出生于Oxney": [],
        # Neither a letter that may be part of any word, nor one that goes on.
        "王国在北京": [],
        "สมชายา้ เชียงใหม่": [("สมชาย", "เชียงใหม่")],
        "สมชายี เชียงใหม่": [],
    }.items(),
)
def test_names_of_scripts_without_blanks_are_found_in_their_texts(make, text, expected):
    rows = "张伟民,北京\n山田花子,京都\n김철수,서울\nสมชาย,เชียงใหม่\nAnn Holt,Oxney\n王,北京\n"
    tool = make(f"name,town\n{rows}", key=["name"], values=["town"])
    found = [(each.arguments, text[each.offset :]) for each in tool.proposals(Document("d", text))]
    assert [arguments for arguments, _ in found] == [name for name, _ in expected]
    for (arguments, rest), (_, town) in zip(found, expected, strict=True):
        assert rest.startswith(town)
        assert answer(tool, arguments) == town


def test_long_texts_are_looked_through_to_their_end(make):
    tool = make("name,town\n张伟民,北京\n", key=["name"], values=["town"])
    text = "他们说今天天气很好" * 500
    for before in (text, text[:-1], text[:1999], text[:1998]):
        (found,) = tool.proposals(Document("d", f"{before}张伟民在北京"))
        assert found.offset == len(before) + 4


def test_each_relation_with_the_value_is_proposed(make):
    table = "subject,relation,object\nAnn Lee,born in,Bath\nAnn Lee,died in,Bath\nAnn,age,7\n"
    tool = make(table)
    assert proposed(tool, "Ann Lee of Bath was 7.") == [
        ("Ann Lee, born in", "Bath"),
        ("Ann Lee, died in", "Bath"),
    ]
    # The longer name is the one that is meant.
    assert proposed(tool, "Ann was 7.") == [("Ann, age", "7.")]


def test_the_prompt_shows_rows_that_can_stand_in_calls(make):
    table = 'subject,relation,object\n"a [1]",age,1\nb,age,2 -> 3\nc,age,"4\n5"\nd,age,6\ne,age,7\n'
    prompt = load_prompt("Facts", own=make(table).prompt)
    assert [shown for shown, _ in demonstrations_of(prompt)] == [
        "The age of d is 6.",
        "The age of e is 7.",
        "The age of d is 6.",
    ]
    glossary = make("term,object\nsky,blue\n", key=["term"])
    assert ("sky is blue.", ["Facts(sky)"]) in demonstrations_of(str(glossary.prompt))
    assert make("subject,relation,object\n[a],[b],[c]\n").prompt is None
    own = make(examples=[f"Ada {n} was a [Facts(Ada Lovelace, occupation)] writer." for n in "123"])
    assert demonstrations_of(str(own.prompt))[0][0] == "Ada 1 was a writer."


# --- as part of the project -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["facts", "wide", "glossary"])
def test_it_keeps_the_contract(tmp_path, kind):
    contents, key, values = {
        "facts": (FACTS, ["subject", "relation"], ["object"]),
        "wide": ("a,b,c\nx,1,2\ny,3,4\nz,5,6\n", ["a"], ["b", "c"]),
        "glossary": ("a,b\nx,1\ny,3\nz,5\n", ["a"], ["b"]),
    }[kind]
    (tmp_path / "facts.csv").write_text(contents)
    trial = Trial(
        "Facts",
        lambda given: create_tool("Facts", given, targets={"Facts": TABLE_TOOL}),
        {"table": "facts.csv", "key": key, "values": values, "folder": str(tmp_path)},
        read_prompt=lambda tool: load_prompt("Facts", own=tool.prompt),
        deadline_seconds=10.0,
    )
    assert [each for each in check_contract(trial) if each.status != "passed"] == []


def test_the_table_of_a_home_lies_beside_its_settings_and_is_read_by_the_worker(tmp_path: Path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "facts.csv").write_text(FACTS)
    (tmp_path / "toolformer.yaml").write_text(
        f"tools:\n  Facts:\n    class: {TABLE_TOOL}\n    options:\n"
        "      {table: tables/facts.csv, key: [subject, relation], values: [object]}\n"
    )
    home = Home(tmp_path)
    tool = open_tool(load_settings(home.settings_file), home, "Facts")
    assert answer(tool, "Peter F Martin, year of birth") == "1941"
    assert answer(tool, "it, field") == "ambiguous"
    assert [path.name[:6] for path in indexes(home.table_indexes)] == ["Facts."]
    (tmp_path / "tables" / "facts.csv").unlink()
    with pytest.raises(ToolSettingsError, match="cannot be read"):
        _ = open_tool(load_settings(home.settings_file), home, "Facts").version
