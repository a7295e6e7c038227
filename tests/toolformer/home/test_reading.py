"""A home in Python: what it answers, and that reading changes nothing."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.test_command_blocks import blocks
from tests.warehouse.rows import TEXT, fill, new_warehouse, put, put_calls
from toolformer.errors import ToolformerError
from toolformer.home import home as places
from toolformer.home.reading import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.errors import SettingsError
from warehouse.errors import DamagedPartitionError, LayoutError, QueryError


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    warehouse = new_warehouse(folder)
    fill(warehouse)
    put_calls(warehouse, {"call_id": "c1"}, {"call_id": "c2", "position": 4})
    return folder


def test_a_home_is_read_in_python_and_stays_as_it_is(root: Path):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    home = Home(str(root))
    assert home.sql("select text from documents")["text"].to_list() == [TEXT]
    kept = home.kept_calls()
    assert kept["call_id"].to_list() == ["c1", "c2"]
    assert {"arguments", "result", "text_before", "loss_reduction"} <= set(kept.columns)
    call = home.explain("c1")
    assert (call["text"], call["result"], call["reason"]) == (TEXT, "0.29", "kept")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_model_and_the_tools_of_a_home_are_those_of_its_settings(root: Path, tmp_path):
    copy = shutil.copytree(root, tmp_path / "home")
    (copy / "toolformer.yaml").write_text(
        "sampling: {round: 2}\ntools: {QA: {is_enabled: false}, WikiSearch: {is_enabled: false},"
        " MT: {is_enabled: false}}"
    )
    home = Home(copy)
    assert home.model == copy / "models" / "toolformer-round-2"
    assert [tool.name for tool in home.tools] == ["Calculator", "Calendar"]
    assert home.tools is home.tools


@pytest.mark.parametrize("is_opened_by_a_command", [True, False])
def test_reading_writes_nothing_into_a_home_that_nobody_has_prepared(
    root: Path, tmp_path, monkeypatch, *, is_opened_by_a_command: bool
):
    copy = shutil.copytree(root, tmp_path / "home")
    for folder in copy.glob("warehouse/*/shard=none"):
        shutil.rmtree(folder)
    (copy / "labels.jsonl").unlink()
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    if is_opened_by_a_command:
        monkeypatch.setattr(os, "access", lambda path, _: path != copy)
        warehouse = open_warehouse(places.Home(copy))
    else:
        warehouse = Home(copy).warehouse
    for view in ("call_statistics", "call_provenance"):
        counted = f"select count(*) as n from {view}"
        assert warehouse.query(counted).equals(Home(root).sql(counted))
    assert warehouse.query("from executed_calls where tool = 'none'").is_empty()
    assert warehouse.query("select rater, label from labels").is_empty()
    assert warehouse.query("from label_precision").is_empty()
    assert warehouse.compare(warehouse).examples.is_empty()
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_the_lines_of_the_document_run(root: Path, tmp_path, monkeypatch):
    (lines,) = blocks(REPOSITORY / "docs" / "how-to" / "look-at-calls.md", "python")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "news-strict").symlink_to(root)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["kept"].height == 2


def test_a_call_is_looked_for_only_in_shards_that_may_have_it(tmp_path):
    warehouse, shards = new_warehouse(tmp_path), [f"shard-{number:05}" for number in range(4)]
    beginnings = ("abcd1", "abcd2", "abce1", "ab")
    for shard, beginning in zip(shards, beginnings, strict=True):
        # Of so many calls it is not told how they begin.
        others = range(1, 257 if beginning == "ab" else 2)
        calls = [{"call_id": beginning}, *({"call_id": f"{beginning}z{n}"} for n in others)]
        put(warehouse, "candidate_calls", *calls, shard=shard)
    for info in warehouse.partitions("candidate_calls"):
        if info.shard == shards[2]:
            info.path.write_bytes(b"PAR1")
    home = Home(tmp_path)
    for beginning, shard in zip(beginnings[:2], shards[:2], strict=True):
        assert home.explain(beginning)["shard"] == shard
        assert home.explain(f"{beginning}z")["call_id"] == f"{beginning}z1"
    assert home.explain("abz256")["shard"] == shards[3]
    with pytest.raises(ToolformerError, match="begins with 'abcd': abcd1, abcd1z1, abcd2, abcd2z1"):
        home.explain("abcd")
    with pytest.raises(ToolformerError, match="There is no call whose id begins with 'abcf'"):
        home.explain("abcf")
    for beginning in ("abce1", "ab"):
        with pytest.raises(DamagedPartitionError):
            home.explain(beginning)


def test_without_a_folder_it_is_the_home_of_the_environment(root: Path, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(root))
    assert Home().paths == Home(root).paths == places.Home(root)


def test_a_mistake_is_told(root: Path, tmp_path):
    with pytest.raises(SettingsError, match="There is no home in"):
        Home(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r"The home is '.*' in it as part of a name"):
        Home(tmp_path / "home[1]")
    with pytest.raises(SettingsError, match=r"There is no home in '.*~nobody-here/news'"):
        Home("~nobody-here/news")
    with pytest.raises(ToolformerError, match="an id that begins with 'c': c1, c2"):
        Home(root).explain("c")
    with pytest.raises(ToolformerError, match="There is no call whose id begins with 'x'"):
        Home(root).explain("x")
    with pytest.raises(QueryError, match="Expected a single statement that reads"):
        Home(root).sql("drop table documents")
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse" / "layout-version").write_text("7\n")
    with pytest.raises(LayoutError, match="layout version 7"):
        Home(tmp_path)
