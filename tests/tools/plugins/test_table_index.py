"""The index of a table: made once, made anew, never wrong."""

import itertools
import os
import random
import subprocess
import sys
import time

import pytest

from tests.tools.plugins.tables import FACTS, NO_TEXT, answer, indexes
from tools.errors import ToolSettingsError
from tools.plugins import table_tool
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


def test_an_index_with_a_flipped_bit_is_made_anew(make, tmp_path):
    settings = {"index_folder": str(tmp_path / "index")}
    first = make(**settings)
    calls = [f"{fact.subject}, {fact.relation}" for fact in first.index.first_facts(20)]
    right = [answer(first, call) for call in calls]
    (file,) = indexes(tmp_path / "index")
    whole = file.read_bytes()
    numbers = random.Random(1)
    for bit in numbers.sample(range(len(whole) * 8), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            TableIndex(file)
    again = make(**settings)
    assert [answer(again, call) for call in calls] == right
    assert TableIndex(file).facts == first.index.facts


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
