"""The index of a table: made once, made anew, never wrong."""

import subprocess
import sys

import pytest

from tests.tools.plugins.tables import FACTS, NO_TEXT, answer, indexes
from tools.errors import ToolSettingsError
from tools.plugins.table_index import TableIndex
from tools.plugins.table_rows import Table
from tools.plugins.table_tool import TableTool
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.result_cache import ResultCache


def test_an_index_is_used_again_until_the_table_changes(make, tmp_path, monkeypatch):
    settings = {"index_folder": str(tmp_path / "index")}
    first = make(**settings)
    with monkeypatch.context() as patch:
        patch.setattr(Table, "facts", None)
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


def test_what_a_table_lacks_is_looked_up_again(make, tmp_path):
    # An index that is damaged while it is read may not find what the table has.
    tool, cache = make(), ResultCache(tmp_path / "cache")
    for _ in range(2):
        (result,) = execute_calls(tool, [("Nobody, field", NO_TEXT)], limits=Limits(9), cache=cache)
        assert (result.reason, result.from_cache) == ("not_found", False)


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
    assert make(FACTS + "IT,field,science\n").version != first.version
    make()
    # A query may give its rows in any order.
    queries = [make(f"from 'facts.csv' order by object {way}", None) for way in ("", "desc")]
    assert queries[0].version == queries[1].version
    for reordered in queries:
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
