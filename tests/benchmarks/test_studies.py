"""Studies: which modes are asked, and which rows they leave."""

import csv
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.studies import run_studies
from dagster_project.commands.options import RunOptions
from tests.fakes import save_tiny_model
from tests.homes import write_lines
from tests.warehouse.rows import new_warehouse
from toolformer.errors import ToolformerError
from tools.plugins.table_tool import TABLE_TOOL
from warehouse.warehouse import Warehouse

TABLE = {"key": ["who"], "values": ["town"], "table": "towns.csv"}
BY_MODE = "select mode, list(%s order by item_id) from evaluation_results group by mode"


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> Warehouse:
    """A home that asks a tiny model, as the base and as `large`, one question of `own`."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    write_lines(tmp_path / "own.jsonl", [{"question": "How many?", "answers": ["2"]}])
    model = str(save_tiny_model(tmp_path / "model"))
    write_settings(
        tmp_path,
        {
            "language_model": {"path": model, "device": "cpu"},
            "tools": {name: {"is_enabled": False} for name in ("QA", "MT", "WikiSearch")},
            "evaluation": {
                "benchmarks": ["perplexity", "own"],
                "questions": {"own": {"path": "own.jsonl", "prompt": "{question}"}},
                "models": {"large": model},
            },
        },
    )
    return new_warehouse(tmp_path)


def write_settings(home: Path, settings: dict) -> None:
    with (home / "toolformer.yaml").open("w") as file:
        YAML().dump(settings, file)


def add_table(home: Path, **options: object) -> None:
    """Add the tool Facts, and take `own` alone."""
    settings = YAML(typ="safe").load(home / "toolformer.yaml")
    settings["tools"]["Facts"] = {"class": TABLE_TOOL, "options": {**TABLE, **options}}
    write_settings(home, settings)


def asked(store: Warehouse, *studies: str, model: str = "large", column: str = "gold") -> dict:
    """Run studies; return the values of a column, by mode."""
    run_studies(studies, RunOptions(), [model])
    return dict(store.query(BY_MODE % column).iter_rows())


def test_a_study_asks_its_modes_and_the_next_one_takes_their_place(store: Warehouse):
    usual = {"disabled", "enabled"}
    # By rank alone, which calls enabled are not: nothing was calibrated for this model.
    assert {*asked(store, "k")} == usual | {"k-1", "k-3", "k-10"}
    assert {*asked(store, "sizes", model="base")} == usual | {"k-1", "k-3", "k-10"}
    without = {"without-Calculator", "without-Calendar"}
    assert {*asked(store, "tools", "openings")} == usual | without | {"forced"}
    models = store.query("select distinct model, mode from evaluation_results order by all").rows()
    assert models[:2] == [("base", "disabled"), ("base", "enabled")]
    intervals = store.query("select distinct mode from score_intervals")["mode"]
    assert {*intervals} == usual | without | {"forced"}


def test_what_cannot_be_studied_is_told(store: Warehouse):
    with pytest.raises(ToolformerError, match="no model 'horoscope'"):
        run_studies(["k"], RunOptions(), ["horoscope"])
    with pytest.raises(
        ToolformerError, match=r"No benchmark of evaluation\.benchmarks has questions"
    ):
        run_studies(["k"], RunOptions.of(None, benchmarks=["perplexity"]), ["base"])
    with pytest.raises(ToolformerError, match="No tool of this run looks up facts in a table"):
        run_studies(["tables"], RunOptions(), ["base"])
    assert store.query("from evaluation_results").is_empty()


def test_tables_are_edited_under_the_questions_that_ask_for_their_facts(
    store: Warehouse, tmp_path: Path
):
    (tmp_path / "towns.csv").write_text("who,town\nAda Lund,Paris\nBo Gren,Rome\n")
    add_table(tmp_path)
    questions = [
        {"id": "a", "question": "Ada Lund lives in", "answers": ["Paris"]},
        {"id": "b", "question": "A", "answers": ["b"]},
    ]
    write_lines(tmp_path / "own.jsonl", questions)
    # The other question asks for no fact of the table.
    assert asked(store, "tables") == {
        "disabled": ['["Paris"]', '["b"]'],
        "enabled": ['["Paris"]', '["b"]'],
        "changed": ['["Rome"]'],
        "deleted": ['["Paris"]'],
    }


def test_popqa_is_table_and_questions_by_popularity(store: Warehouse, tmp_path: Path):
    columns = "id subj prop obj s_aliases s_pop question possible_answers"
    people = (("Ada Lund", "baker", 7), ("Bo Gren", "judge", 42), ("Cy Holm", "poet", 71000))
    with (tmp_path / "popQA.tsv").open("w", newline="") as file:
        table = csv.writer(file, "excel-tab")
        table.writerow(columns.split())
        for number, (name, job, views) in enumerate(people):
            question, answers = f"What is {name}'s occupation?", json.dumps([job, f'a "{job}"'])
            table.writerow([number, name, "occupation", job, "[]", views, question, answers])
    add_table(tmp_path, table="popQA.tsv", key=["subj", "prop"], values=["obj"])
    settings = YAML(typ="safe").load(tmp_path / "toolformer.yaml")
    settings["evaluation"] |= {"benchmarks": ["popqa"], "files": {"popqa": "popQA.tsv"}}
    write_settings(tmp_path, settings)
    found = asked(store, "tables", column="item_group")
    everyone = ["s_pop 0-9", "s_pop 10-99", "s_pop 10000-99999"]
    unedited = ("disabled", "enabled", "changed")
    assert {mode: found[mode] for mode in unedited} == dict.fromkeys(unedited, everyone)
    # One of three stays in the table, whose every row is asked for.
    assert len(found["deleted"]) == 2
