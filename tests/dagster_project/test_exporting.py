"""`toolformer export`: what is read back is what the warehouse says."""

import errno
import json
import os
import re
from functools import partial
from typing import Any

import polars as pl
import pytest

from dagster_project.commands import dataset_folder
from tests.conftest import REPOSITORY
from tests.dagster_project.exports import ODD, PLAIN, records_of, store, store_calls
from tests.fakes import save_calling_model
from tests.homes import short_prompts, small_settings, write_lines
from tests.processes import writing_beside
from tests.warehouse.rows import CALL, SHARD
from toolformer.augmentation import KeptCall, augmented_text
from toolformer.home.home import Home
from toolformer.markup import strip_markup
from toolformer.settings.sections import merged
from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.warehouse import Warehouse

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

FORMATS = ("dataset", "sft", "text")


def inline(warehouse: Warehouse) -> list[str]:
    rows = warehouse.query(
        "select text, calls from augmented_texts order by document_id"
    ).to_dicts()
    return [
        augmented_text(row["text"], [KeptCall(**each) for each in row["calls"]]) for row in rows
    ]


def test_texts_have_their_calls_in_line_and_chats_beside(built: Warehouse, run, tmp_path):
    file = tmp_path / "new folder" / "texts.jsonl"
    outcome = run("export", "text", "--output", file)
    assert (outcome.code, outcome.out) == (0, f"Round 1: 2 texts, in {file}.\n")
    records = records_of(file)
    plain, odd = inline(built)
    assert [record["text"] for record in records] == ["How many\nsacks?\n" + plain, odd]
    assert [record["split"] for record in records] == ["none", "train"]
    assert "🗼" in odd
    assert "so [Calculator(2 * 6) -> 12] 12" in plain
    cleaned = [strip_markup(record["text"]).text for record in records]
    assert cleaned == ["How many\nsacks?\n" + PLAIN, ODD]
    trained = built.read_partition("training_texts", "all", "all")
    earlier = trained.with_columns(text=pl.lit("What stood there before."))
    built.replace_partition("training_texts", "all", "all", earlier, metadata={})
    assert run("export", "text", "--output", tmp_path / "later.jsonl").code == 0
    assert {record["split"] for record in records_of(tmp_path / "later.jsonl")} == {"none"}

    chats = tmp_path / "chats.jsonl"
    assert run("export", "sft", "--output", chats).code == 0
    for record, text in zip(records_of(chats), (PLAIN, ODD), strict=True):
        said = [each["content"] for each in record["messages"] if each["role"] == "assistant"]
        assert "".join(said) == text
        calculator, calendar = (tool["function"] for tool in record["tools"])
        assert calculator["description"].startswith("Works out an expression")
        assert calculator["parameters"]["required"] == ["input"]
        assert calendar["parameters"]["properties"] == {}


def test_a_dataset_holds_the_rows_of_the_warehouse(built: Warehouse, run, tmp_path):
    folder = tmp_path / "dataset"
    outcome = run("export", "dataset", "--output", folder)
    assert "2 texts and 4 kept calls" in outcome.out
    texts = pl.read_parquet(folder / "data" / "augmented_texts" / "*.parquet")
    stored = built.query("select * from augmented_texts order by document_id")
    assert texts.select(stored.columns).rows() == stored.rows()
    # The function that docs/export.md shows puts the calls into them.
    text = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^def in_line.*?(?=^```)", text, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert [names["in_line"](row) for row in texts.to_dicts()] == inline(built)
    kept = pl.read_parquet(folder / "data" / "kept_calls" / "*.parquet")
    merged = dict(kept.select("call_id", "is_merged").iter_rows())
    assert merged == {"a1": True, "a4": True, "b1": False, "b2": True}
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("SmolLM2-135M", "| Calculator | 2 | 1.0 | `1` |", "apache-2.0", "2 rows"):
        assert part in card
    wrote = "rules of the tools wrote 1, the model `SmolLM2-135M` wrote 1."
    assert f"Of 3 kept calls, an unknown model wrote 1, {wrote}" in card
    # Those of the training texts: of the second text alone.
    writers = built.ask("call_writers", round=None).rows()
    assert writers == [("an unknown model", 1), ("rules of the tools", 1)]
    datasets = pytest.importorskip("datasets", reason="needs the extra `trl`")
    cache = str(tmp_path / "cache")
    load = partial(datasets.load_dataset, str(folder), split="train", cache_dir=cache)
    assert sorted(load()["document_id"]) == ["d1", "d2"]
    assert sorted(load("kept_calls")["call_id"]) == ["a1", "a4", "b1", "b2"]


CHANGES = {
    "another version": lambda built: store_calls(built, "Calculator", [{"document_id": "d1"}]),
    "retired": lambda built: built.retire(SHARD),
    "a new shard": lambda built: [
        store(built, table, "shard-00007", "Calculator", {"proposed": "call"})
        for table in ("candidate_calls", "executed_calls", "filtered_calls")
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_all_files_of_an_export_are_of_one_moment(
    built: Warehouse, run, tmp_path, monkeypatch, change: str
):
    before, meanwhile = tmp_path / "before", tmp_path / "meanwhile"
    assert run("export", "dataset", "--output", before).code == 0
    genuine, written = dataset_folder._write_parquet, []

    def publishing(*arguments: Any) -> Any:
        written.append(genuine(*arguments))
        if len(written) == 1:
            CHANGES[change](built)
        return written[-1]

    monkeypatch.setattr(dataset_folder, "_write_parquet", publishing)
    assert run("export", "dataset", "--output", meanwhile).code == 0
    assert len(written) == 2
    for file in before.rglob("*"):
        if file.is_file():
            assert (meanwhile / file.relative_to(before)).read_bytes() == file.read_bytes()


def test_an_export_whose_files_were_superseded_long_ago_says_so(
    built: Warehouse, run, tmp_path, monkeypatch
):
    (path,) = built.files("filtered_calls")[:1]
    genuine = dataset_folder._write_parquet

    def publishing(*arguments: Any) -> Any:
        written = genuine(*arguments)
        store_calls(built, "Calculator", [{"document_id": "d1"}])
        path.unlink()
        return written

    monkeypatch.setattr(dataset_folder, "_write_parquet", publishing)
    outcome = run("export", "dataset", "--output", tmp_path / "dataset")
    assert outcome.code == 1
    assert "were replaced while their rows were read: a build is running" in outcome.err
    assert list(tmp_path.glob("dataset*")) == []


def test_the_newest_round_is_exported_unless_one_is_named(built: Warehouse, run, tmp_path):
    round_2 = {"document_id": "d2", "call_id": "r1", "round": 2, "character_offset": 3}
    store_calls(built, "Calculator", [round_2 | {"position": 3}], "round-2.Calculator")
    calls = [CALL | {"call_id": "r1", "character_offset": 3, "position": 3}]
    of_text = {"document_id": "d2", "text": ODD, "round": 2, "calls": calls}
    store(built, "augmented_texts", SHARD, "round-2.all", of_text)
    for options, number, texts in (((), 2, 1), (("--round", 1), 1, 2)):
        file = tmp_path / f"{number}.jsonl"
        told = run("export", "text", "--output", file, *options).out
        assert f"Round {number}: {texts} texts" in told
        assert {record["round"] for record in records_of(file)} == {number}
    outcome = run("export", "text", "--output", tmp_path / "3", "--round", 3)
    assert outcome.is_one_paragraph_naming(
        "Round 3 has no annotated texts. Expected one of these rounds: 1, 2."
    )


def test_a_chained_round_declares_the_tools_of_the_calls_before_it_too(
    built: Warehouse, run, tmp_path
):
    days = [{"document_id": "d1", "call_id": "r1", "round": 2, "position": 30, "arguments": ""}]
    store_calls(built, "Calendar", days, "round-2.Calendar")
    first = built.read_partition("augmented_texts", SHARD, "all")["calls"][0][0]
    calls = [first, CALL | days[0] | {"tool": "Calendar", "character_offset": 30}]
    calls = [{name: each[name] for name in CALL} for each in calls]
    text = {"document_id": "d1", "text": PLAIN, "round": 2, "first_call_id": first["call_id"]}
    store(built, "augmented_texts", SHARD, "round-2.all", text | {"calls": calls})
    assert run("export", "sft", "--output", tmp_path / "chats").code == 0
    (record,) = records_of(tmp_path / "chats")
    assert [tool["function"]["name"] for tool in record["tools"]] == ["Calculator", "Calendar"]
    assert run("export", "dataset", "--output", tmp_path / "dataset").code == 0
    assert "| Calculator | 1 | 1.0 | `1` |" in (tmp_path / "dataset" / "README.md").read_text()
    # Of what was kept in round 2, only the Calendar's was merged there.
    merged = built.query("select round, tool, rows from call_funnel where stage = 'merged'")
    assert merged.rows() == [(1, "Calculator", 2), (1, "Calendar", 1), (2, "Calendar", 1)]


def test_calls_of_a_tool_that_left_the_texts_are_not_exported(built: Warehouse, run, tmp_path):
    stored = built.read_partition("augmented_texts", SHARD, "all").to_dicts()
    (text,) = (row for row in stored if row["document_id"] == "d2")
    calls = [each for each in text["calls"] if each["tool"] == "Calendar"]
    store(built, "augmented_texts", SHARD, "all", text | {"calls": calls})
    assert run("export", "dataset", "--output", tmp_path / "dataset").code == 0
    kept = pl.read_parquet(tmp_path / "dataset" / "data" / "kept_calls" / "*.parquet")
    assert kept["tool"].unique().to_list() == ["Calendar"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_home_is_told(warehouse: Warehouse, run, tmp_path, form: str):
    outcome = run("export", form, "--output", tmp_path / "export")
    assert outcome.is_one_paragraph_naming("There are no ", "`toolformer build`")
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_is_never_replaced(built: Warehouse, run, tmp_path, form: str):
    target = tmp_path / "export"
    if form == "dataset":
        # As a container mounts one.
        target.mkdir()
    assert run("export", form, "--output", target).code == 0
    before = {path: path.stat() for path in (target, *target.rglob("*"))}
    outcome = run("export", form, "--output", target)
    assert outcome.is_one_paragraph_naming("already exists")
    assert {path: path.stat() for path in (target, *target.rglob("*"))} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "home"]


@pytest.mark.parametrize("place", ["", "models/mine"])
def test_the_home_is_no_place_for_an_export(built: Warehouse, run, home: Home, place: str):
    outcome = run("export", "text", "--output", home.root / place)
    assert outcome.is_one_paragraph_naming("is inside the home")


@pytest.mark.parametrize("form", ["dataset", "text"])
def test_a_full_disk_leaves_nothing(built: Warehouse, run, tmp_path, monkeypatch, form: str):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    outcome = run("export", form, "--output", tmp_path / "export")
    assert outcome.is_one_paragraph_naming("The disk is full", "Free some space")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_what_a_killed_export_left_is_removed(built: Warehouse, run, tmp_path):
    with writing_beside(tmp_path / "export") as left:
        pass
    assert left.exists()
    assert run("export", "text", "--output", tmp_path / "export").code == 0
    assert not left.exists()


def test_calls_that_a_build_would_make_anew_are_told(built: Warehouse, home: Home, run, tmp_path):
    model, texts = tmp_path / "model", write_lines(tmp_path / "texts.jsonl", [{"text": PLAIN}])
    save_calling_model(model)
    settings = merged(small_settings(model, texts), {"tools": short_prompts()})
    home.settings_file.write_text(json.dumps(settings))
    entry = ShardEntry(SHARD, "texts.jsonl", 0, 2, "digest", is_held_out=False)
    Manifest(next_number=1, shards=[entry]).save(home.sources)
    outcome = run("export", "text", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Out of date: ")
    assert "of filtered_calls" in outcome.out
