"""A run over several benchmarks of which one cannot be measured."""

from pathlib import Path

import dagster as dg
import pytest

from assets.evaluation.results import evaluation_results
from dagster_project.definitions import definitions
from dagster_project.run_tags import RANGE_END_TAG, RANGE_START_TAG
from tests.fakes import save_tiny_model
from tests.homes import write_lines
from tests.warehouse.rows import new_warehouse
from toolformer_home.partitions import BENCHMARK, MODEL
from toolformer_home.resources.settings import SettingsResource

KEYS = ["first|base", "bad|base", "last|base"]


def run(instance: dg.DagsterInstance, settings: dict) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [evaluation_results],
        instance=instance,
        tags={RANGE_START_TAG: KEYS[0], RANGE_END_TAG: KEYS[-1]},
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


def test_those_that_were_measured_are_reported_and_the_retry_measures_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        instance.add_dynamic_partitions(BENCHMARK, list(files))
        instance.add_dynamic_partitions(MODEL, ["base"])
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
