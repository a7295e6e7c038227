"""A build over shards of which one has a damaged file, and the next build once it is back."""

from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from toolformer.home.expected_errors import RunFailedError

STAGES = ("filtered_calls", "augmented_texts")
BAD, GOOD = SHARDS
CHANGED = {"tools": {"Calculator": {"filtering_threshold": 0.125}}}


def reports(home: PipelineHome, before: set[str]) -> list[Counter[tuple[str, str | None]]]:
    """How often each run since then reports each shard of an asset, run by run."""
    counted = []
    with home.instance() as instance:
        for run in reversed(instance.get_runs(dg.RunsFilter(job_name="build_dataset"))):
            if run.run_id not in before:
                logs = instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
                events = [entry.get_dagster_event() for entry in logs]
                counted.append(Counter((str(each.step_key), each.partition) for each in events))
    return counted


def versions(home: PipelineHome, shard: str) -> list[Path | None]:
    return [each.path for each in home.warehouse.partitions(shard=shard)]


def test_the_others_are_reported_and_go_on_and_the_next_build_makes_the_one(
    built_home: PipelineHome, copy_of: MakeHome
):
    home = copy_of(built_home)
    info = next(
        each for each in home.warehouse.partitions("scored_calls", BAD) if each.name == "Calculator"
    )
    rows = info.path.read_bytes()
    before = set(home.run_ids("build_dataset"))
    info.path.write_bytes(rows[:10] + bytes([rows[10] ^ 1]) + rows[11:])
    with pytest.raises(RunFailedError, match=info.path.name):
        home.build(overrides=CHANGED)
    assert reports(home, before) == [Counter({(stage, GOOD): 1 for stage in STAGES})]
    made = versions(home, GOOD)
    before = set(home.run_ids("build_dataset"))
    home.build(overrides=CHANGED)
    again = ("scored_calls", *STAGES)
    assert reports(home, before) == [Counter({(stage, BAD): 1 for stage in again})]
    assert versions(home, GOOD) == made
    assert home.warehouse.damage() == {}
