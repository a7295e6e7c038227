"""Runs over several benchmarks of which one cannot be measured."""

from collections.abc import Sequence

import dagster as dg

from assets.evaluation.results import evaluation_results
from dagster_project.definitions import definitions
from dagster_project.run_tags import RANGE_END_TAG, RANGE_START_TAG
from tests.fakes import save_tiny_model
from tests.homes import write_lines
from tests.warehouse.rows import new_warehouse
from toolformer.home.partitions import BENCHMARKS, MODELS, register
from toolformer.home.resources.settings import SettingsResource

KEYS = ["first|base", "bad|base", "last|base"]


def run(
    instance: dg.DagsterInstance, settings: dict, *, keys: Sequence[str] = KEYS
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [evaluation_results],
        instance=instance,
        tags={RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]},
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
