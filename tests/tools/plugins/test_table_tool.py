"""A table of the user's own as a tool."""

import datetime
import gzip
import random
import sqlite3
import string
from copy import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from toolformer_home.home import Home
from toolformer_home.settings.settings_file import load_settings
from toolformer_home.wiring.toolbox import open_tool
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError, ToolUnavailableError
from tools.plugins import table_tool
from tools.plugins.table_index import TableIndex
from tools.plugins.table_names import are_near, folded
from tools.plugins.table_rows import Table
from tools.plugins.table_tool import TABLE_TOOL, TableTool
from tools.prompting import demonstrations_of, load_prompt
from tools.protocol import Document
from tools.registry import create_tool
from tools.running.contract import check_contract
from tools.running.trial import Trial

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
    ):
        assert not are_near(name, other)
        assert not are_near(other, name)


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


def test_reading_starts_as_many_threads_on_a_machine_of_many_cores(tmp_path):
    # Those of 16 cores do not start within the memory of a worker.
    query = (
        "select current_setting('threads') as workers, current_setting('async_threads') as others"
    )
    with Table(query, ["workers"], ["others"], tmp_path).opened() as table:
        assert list(table) == [("2", "", "2")]


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
        ("a.csv", "", r"begins with None. Expected a line with a name for each column"),
        ("a.csv", "subject,subject\n", "each name once"),
        ("a.csv", "subject,relation,object\n", "no row with a key and a value"),
        ("a.csv", "subject,relation,object\na,b,\n,b,c\na,,c\n", "no row with a key and a value"),
        ("a.csv", "subject,relation,object\na,b,c\na,b,c,d\n", "Line: 3.*Expected Number of Col"),
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
    with pytest.raises(ToolSettingsError, match=r"has 10 values. Expected at most 9"):
        make()
    monkeypatch.setattr(table_tool, "_MOST_FACTS", 19)
    with pytest.raises(ToolSettingsError, match=r"has 20 values. Expected at most 19"):
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
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["Facts.sqlite"]


def test_an_index_that_cannot_be_read_is_made_anew(make, tmp_path):
    settings = {"index_folder": str(tmp_path / "index")}
    version = make(**settings).version
    file = tmp_path / "index" / "Facts.sqlite"
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
    file = tmp_path / "index" / "Facts.sqlite"
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
    found = list(check_contract(trial))
    assert [each for each in found if each.status == "failed"] == []
    assert [each.rule for each in found if each.status == "skipped"] == [
        "version names what answers depend on"
    ]


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
    assert [path.name for path in home.table_indexes.iterdir()] == ["Facts.sqlite"]
    (tmp_path / "tables" / "facts.csv").unlink()
    with pytest.raises(ToolSettingsError, match="cannot be read"):
        _ = open_tool(load_settings(home.settings_file), home, "Facts").version
