"""What a build is said to do, against what it does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assets.dataset.stages import PIPELINE
from dagster_project.commands.options import RunOptions
from dagster_project.commands.train import train_model
from dagster_project.runs.forecast import Forecast, forecast_build
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from toolformer.settings.settings_file import load_settings

pytestmark = pytest.mark.slow

PLANNED = PIPELINE.names
# The stage of `stage_costs` in which the model makes the partitions of a table.
COSTS = {"candidate_calls": "sampling", "scored_calls": "scoring"}


def forecast(home: PipelineHome, **named: Any) -> Forecast:
    with home.entered():
        return forecast_build(load_settings(home.home.settings_file), home.home, **named)


def planned(forecast: Forecast) -> set[str]:
    """The partitions, as `PipelineHome.partition_states` names them."""
    return {
        f"{each.table}/shard={each.shard}/{each.partition_name}" for each in forecast.partitions
    }


def planned_costs(forecast: Forecast) -> set[str]:
    """The partitions of `stage_costs` of what the model is to make."""
    return {
        f"stage_costs/shard={each.shard}/{each.partition_name}.{COSTS[each.table]}"
        for each in forecast.partitions
        if each.tokens
    }


def made(home: PipelineHome, before: Mapping[str, tuple[int, int]], tables: tuple) -> set[str]:
    """The partitions of these tables that are others than before."""
    return {
        name
        for name, state in home.partition_states().items()
        if name.split("/")[0] in tables and before.get(name) != state
    }


def tokens(forecast: Forecast) -> int:
    return sum(each.tokens for each in forecast.partitions)


def tokens_fed(home: PipelineHome, shard: str) -> int:
    costs = home.warehouse.query("select shard, tokens_fed from stage_costs")
    return int(costs.filter(shard=shard)["tokens_fed"].sum())


def costs_of_model(home: PipelineHome, before: Mapping[str, tuple[int, int]]) -> set[str]:
    names = made(home, before, ("stage_costs",))
    return {name for name in names if name.rpartition(".")[2] in COSTS.values()}


@pytest.fixture
def new_home(tmp_path, pipeline_settings: dict[str, Any]) -> PipelineHome:
    """Nothing but settings; calls are sampled in bfloat16 and scored in float32."""
    home = PipelineHome(tmp_path / "home")
    home.write_settings(pipeline_settings)
    home.change_settings(
        {
            "language_model": {"precision": "bfloat16"},
            "tools": {"WikiSearch": {"is_enabled": False}},
        }
    )
    return home


def test_a_build_does_what_was_planned_and_then_nothing(
    new_home: PipelineHome, corpus_file: Path, request
):
    home, part = new_home, {"shards": SHARDS[:1]}

    first = forecast(home)
    assert not home.home.sources.exists()
    assert [source.path for source in first.cut] == [str(corpus_file)]
    assert first.indexes == []
    assert not first.shards
    assert not first.partitions
    assert first.does_anything
    home.prepare()
    prepared = forecast(home, **part)
    assert prepared.is_prepared
    assert {each.shard for each in forecast(home).partitions} == set(SHARDS)
    assert forecast(home).held_out == 1
    assert {each.reason for each in prepared.partitions} == {"missing"}
    assert {each.partition_name for each in prepared.partitions} == {
        "all",
        "Calculator",
        "Calendar",
    }
    home.build(**part)
    assert made(home, {}, PLANNED) == planned(prepared)
    assert costs_of_model(home, {}) == planned_costs(prepared)
    assert home.run_ids("build_dataset")
    # Before anything was measured the figures are of models that end their calls, as this does not.
    assert 0.25 <= tokens_fed(home, SHARDS[0]) / tokens(prepared) <= 4
    planned_by_the_first = forecast(home, shards=SHARDS[1:])
    home.build(shards=SHARDS[1:])
    assert 0.5 <= tokens_fed(home, SHARDS[1]) / tokens(planned_by_the_first) <= 2

    # Not a partition more, not a model loaded, not even a run.
    request.getfixturevalue("no_model")
    partitions, runs = home.partition_states(), home.run_ids("build_dataset")
    second = forecast(home, **part)
    assert not second.does_anything
    home.build(**part)
    assert home.partition_states() == partitions
    assert home.run_ids("build_dataset") == runs

    home.change_settings({"tools": {"Calendar": {"filtering_threshold": 50.0}}})
    third = forecast(home, **part)
    assert {(each.table, each.partition_name): each.reason for each in third.partitions} == {
        ("filtered_calls", "Calendar"): "changed: tools.Calendar.filtering_threshold",
        ("augmented_texts", "all"): "changed: filtered_calls.Calendar",
    }
    assert planned_costs(third) == set()
    home.build(**part)
    assert made(home, partitions, PLANNED) == planned(third)
    assert costs_of_model(home, partitions) == set()
    assert not forecast(home, **part).does_anything

    # A tool that is switched off leaves the texts, until it is switched on or named.
    of_shard = f"(from augmented_texts where shard = '{SHARDS[0]}')"
    merged = f"select distinct unnest(calls).tool from {of_shard} order by all"
    home.change_settings({"tools": {"Calendar": {"filtering_threshold": 0.0}}})
    home.build(**part)
    texts, partitions = home.rows("augmented_texts", shards=SHARDS[:1]), home.partition_states()
    assert home.warehouse.query(merged).rows() == [("Calculator",), ("Calendar",)]
    home.change_settings({"tools": {"Calendar": {"is_enabled": False}}})
    assert planned(forecast(home, **part)) == {f"augmented_texts/shard={SHARDS[0]}/all"}
    home.build(**part)
    assert home.warehouse.query(merged).rows() == [("Calculator",)]
    assert made(home, partitions, PLANNED) == {f"augmented_texts/shard={SHARDS[0]}/all"}
    assert not forecast(home, **part).does_anything
    home.build(**part, tools=["Calendar"])
    assert home.rows("augmented_texts", shards=SHARDS[:1]).equals(texts)


@pytest.mark.java
def test_another_index_is_built_and_asked_again_as_planned(
    built_home: PipelineHome, copy_of: MakeHome
):
    home, part = copy_of(built_home), {"shards": SHARDS[:1], "tools": ("WikiSearch",)}
    assert not forecast(home, **part).does_anything
    home.change_settings({"wikipedia_index": {"passage_words": 60}})
    changed = forecast(home, **part)
    assert [(each.asset, each.reason) for each in changed.indexes] == [
        ("wikipedia_index", "out of date")
    ]
    assert {(each.table, each.reason) for each in changed.partitions} == {
        ("executed_calls", "changed: tool version"),
        ("scored_calls", "changed: executed calls"),
        ("filtered_calls", "changed: scored calls"),
        ("augmented_texts", "changed: filtered_calls.WikiSearch"),
    }
    partitions = home.partition_states()
    home.build(**part)
    assert made(home, partitions, PLANNED) == planned(changed)
    assert costs_of_model(home, partitions) == planned_costs(changed)
    assert not forecast(home, **part).does_anything


@pytest.mark.java
def test_training_tells_what_was_built_with_other_settings_and_nothing_else(
    built_home: PipelineHome, copy_of: MakeHome, corpus_file: Path, capsys
):
    home = copy_of(built_home)
    threshold = {"tools": {"Calendar": {"filtering_threshold": 50.0}}}

    def told(overrides: dict[str, Any] | None = None) -> list[str]:
        with home.entered():
            train_model(RunOptions(overrides or {}), dry_run=True)
        return capsys.readouterr().out.splitlines()[:-1]

    def sentence(what: str, why: str) -> str:
        build = "`toolformer build` with the same --set brings them up to date"
        return f"Out of date: {what} ({why}). {build}."

    both = "2 partitions of filtered_calls, 2 partitions of augmented_texts"
    changed = "changed: tools.Calendar.filtering_threshold"
    assert told() == []
    assert told(threshold) == [sentence(both, changed)]
    # What was never built is left out by somebody who knows.
    assert told({"tools": {"QA": {"is_enabled": True}}}) == []
    off = {"tools": {"Calendar": {"is_enabled": False}}}
    merged = sentence("2 partitions of augmented_texts", "changed: filtered_calls.Calendar")
    assert told(off) == [merged]
    sources = [{"path": str(corpus_file), "shard_size": 2}]
    assert "the texts of " in told({"corpus": {"sources": sources}})[0]
    home.change_settings({"wikipedia_index": {"passage_words": 60}})
    assert told()[0].startswith("Out of date: 2 partitions of executed_calls, ")
    home.change_settings({"tools": {"Calculator": {"prompt": "not there.txt"}}})
    [line] = told()
    assert line.startswith("It is unknown whether the calls are up to date: ")
    assert "not there.txt" in line
