"""Runs over several benchmarks of which one cannot be measured, and in the modes of studies."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.evaluation.results import evaluation_results
from dagster_project.definitions import definitions
from dagster_project.run_tags import RANGE_END_TAG, RANGE_START_TAG
from tests.fakes import save_tiny_model
from tests.homes import write_lines
from tests.warehouse.rows import new_warehouse
from toolformer.home.partitions import BENCHMARKS, MODELS, register
from toolformer.home.resources.settings import SettingsResource
from tools.plugins.table_tool import TABLE_TOOL

KEYS = ["first|base", "bad|base", "last|base"]


def run(
    instance: dg.DagsterInstance,
    settings: dict,
    *,
    keys: Sequence[str] = KEYS,
    study: str | None = None,
) -> dg.ExecuteInProcessResult:
    config = {"study": study} if study else {}
    return dg.materialize(
        [evaluation_results],
        instance=instance,
        tags={RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]},
        run_config={"ops": {"evaluation_results": {"config": config}}},
        resources={
            **(definitions().resources or {}),
            "settings": SettingsResource(overrides=settings),
        },
        raise_on_error=False,
    )


def reported(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """How the partitions of a run came to be, as its events say."""
    events = result.get_asset_materialization_events()
    states = {event.partition: event.materialization.metadata["state"].value for event in events}
    assert len(states) == len(events)
    return states


def data_version(result: dg.ExecuteInProcessResult, key: str) -> str:
    events = result.get_asset_materialization_events()
    (event,) = (event for event in events if event.partition == key)
    return (event.materialization.tags or {})["dagster/data_version"]


def test_those_that_were_measured_are_reported_and_the_retry_measures_the_one(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    new_warehouse(tmp_path)
    question = [{"id": "1", "question": "How many?", "answers": ["2"]}]
    files = {name: tmp_path / f"{name}.jsonl" for name in ("first", "bad", "last")}
    for name in ("first", "last"):
        write_lines(files[name], question)
    settings = {
        "language_model": {"path": str(save_tiny_model(tmp_path / "model")), "device": "cpu"},
        "evaluation": {
            "benchmarks": list(files),
            "questions": {
                name: {"path": str(file), "prompt": "{question}"} for name, file in files.items()
            },
        },
    }
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, BENCHMARKS, list(files))
        register(instance, MODELS, ["base"])
        failed = run(instance, settings)
        assert not failed.success
        assert reported(failed) == {KEYS[0]: "1 done", KEYS[2]: "1 done"}
        write_lines(files["bad"], question)
        again = run(instance, settings)
        assert again.success
        assert reported(again) == {
            KEYS[0]: "1 up to date",
            KEYS[1]: "1 done",
            KEYS[2]: "1 up to date",
        }
        # What is made of the scores is out of date only where these were measured anew.
        write_lines(files["last"], [{"id": "1", "question": "How few?", "answers": ["1"]}])
        edited = run(instance, settings)
        same, other = (
            data_version(again, key) == data_version(edited, key) for key in (KEYS[0], KEYS[2])
        )
        assert (same, other) == (True, False)


def asked_of_a_tiny_model(file: Path) -> dict[str, Any]:
    """Settings with the questions of a file, and a model beside it for the base and for `large`."""
    model = str(save_tiny_model(file.with_name("model")))
    return {
        "language_model": {"path": model, "device": "cpu"},
        "tools": {name: {"is_enabled": False} for name in ("QA", "MT", "WikiSearch")},
        "evaluation": {
            "benchmarks": ["own"],
            "questions": {"own": {"path": str(file), "prompt": "{question}"}},
            "models": {"large": model},
        },
    }


def test_a_study_adds_its_modes_to_the_rows_and_an_unknown_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    store = new_warehouse(tmp_path)
    file = write_lines(tmp_path / "own.jsonl", [{"question": "How many?", "answers": ["2"]}])
    settings = asked_of_a_tiny_model(file)

    def modes(key: str, study: str | None) -> tuple[set[str], str]:
        result = run(instance, settings, keys=[key], study=study)
        assert result.success
        asked = store.query("select distinct mode from evaluation_results")["mode"]
        return set(asked), reported(result)[key]

    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, BENCHMARKS, ["own"])
        register(instance, MODELS, ["base", "large"])
        seen = {"disabled"}
        assert modes("own|base", None) == (seen, "1 done")
        seen |= {"enabled"}
        assert modes("own|base", "sizes") == (seen, "1 done, 1 up to date")
        assert modes("own|large", None) == (seen, "2 done")
        # By rank alone, which calls enabled are not: nothing was calibrated for this model.
        seen |= {"k-1", "k-3", "k-10"}
        assert modes("own|large", "k") == (seen, "3 done, 2 up to date")
        seen |= {"without-Calculator", "without-Calendar"}
        assert modes("own|large", "tools") == (seen, "2 done, 2 up to date")
        seen |= {"forced"}
        assert modes("own|large", "openings") == (seen, "1 done, 2 up to date")
        with pytest.raises(dg.DagsterInvalidConfigError, match="horoscope"):
            run(instance, settings, keys=["own|base"], study="horoscope")


def test_popqa_is_table_and_questions_by_popularity(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    store = new_warehouse(tmp_path)
    columns = "id subj prop obj s_aliases s_pop question possible_answers"
    people = (("Ada Lund", "baker", 7), ("Bo Gren", "judge", 42), ("Cy Holm", "poet", 71000))
    with (tmp_path / "popQA.tsv").open("w", newline="") as file:
        table = csv.writer(file, "excel-tab")
        table.writerow(columns.split())
        for number, (name, job, views) in enumerate(people):
            question, answers = f"What is {name}'s occupation?", json.dumps([job, f'a "{job}"'])
            table.writerow([number, name, "occupation", job, "[]", views, question, answers])
    (tmp_path / "toolformer.yaml").write_text(
        f"tools: {{Facts: {{class: {TABLE_TOOL}, "
        "options: {table: popQA.tsv, key: [subj, prop], values: [obj]}}}\n"
    )
    settings = asked_of_a_tiny_model(tmp_path / "popQA.tsv")
    files = {"popqa": str(tmp_path / "popQA.tsv")}
    settings["evaluation"] |= {"benchmarks": ["popqa"], "questions": {}, "files": files}
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, BENCHMARKS, ["popqa"])
        register(instance, MODELS, ["large"])
        made = run(instance, settings, keys=["popqa|large"], study="tables")
        assert reported(made) == {"popqa|large": "4 done"}
    groups = store.query(
        "select mode, list(item_group order by item_group) from evaluation_results group by mode"
    )
    found: dict[str, list[str]] = dict(groups.iter_rows())
    everyone = ["s_pop 0-9", "s_pop 10-99", "s_pop 10000-99999"]
    assert {mode: found[mode] for mode in ("disabled", "enabled", "changed")} == dict.fromkeys(
        ("disabled", "enabled", "changed"), everyone
    )
    # One of three stays in the table, whose every row is asked for.
    assert len(found["deleted"]) == 2


def test_the_study_of_tables_edits_them_and_other_runs_leave_its_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    store = new_warehouse(tmp_path)
    table = tmp_path / "towns.csv"
    table.write_text("who,town\nAda Lund,Paris\nBo Gren,Rome\n")
    asked = [
        {"question": "Ada Lund lives in", "answers": ["Paris"]},
        {"question": "A", "answers": ["b"]},
    ]
    file = write_lines(tmp_path / "own.jsonl", asked)
    # What names code stands there alone.
    (tmp_path / "toolformer.yaml").write_text(
        f"tools: {{Facts: {{class: {TABLE_TOOL}, "
        "options: {table: towns.csv, key: [who], values: [town]}}}\n"
    )
    settings = asked_of_a_tiny_model(file)
    key = "own|large"
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, BENCHMARKS, ["own"])
        register(instance, MODELS, ["large"])
        made = run(instance, settings, keys=[key], study="tables")
        assert reported(made) == {key: "4 done"}
        rows = "select mode, gold from evaluation_results where mode in ('changed', 'deleted')"
        answers = store.query(f"{rows} order by mode").rows()
        # The other question asks for no fact of the table.
        assert answers == [("changed", '["Rome"]'), ("deleted", '["Paris"]')]
        assert reported(run(instance, settings, keys=[key])) == {key: "2 up to date"}
        assert store.query(f"{rows} order by mode").rows() == answers
        # Without the tool nothing says what they were made from.
        without = {**settings, "tools": {**settings["tools"], "Facts": {"is_enabled": False}}}
        assert reported(run(instance, without, keys=[key])) == {key: "1 done, 1 up to date"}
        assert store.query(rows).is_empty()
        failed = run(instance, without, keys=[key], study="tables")
        assert not failed.success
