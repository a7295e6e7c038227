"""The asset checks over a warehouse with two rounds of annotation."""

from pathlib import Path

import dagster as dg
import pytest

from dagster_project.checks import (
    call_ids_are_unique_across_slices,
    counts_are_those_of_the_rows,
    kept_calls_are_above_chance,
    kept_calls_reach_the_threshold,
    share_of_kept_calls_is_plausible,
)
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.runs.run_job import failure_of
from tests.warehouse.rows import SHARD, frame
from warehouse.counting import counts_text
from warehouse.warehouse import Warehouse

DROPPED = {"is_kept": False, "reason": "below_threshold", "loss_reduction": 0.1}


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    made = Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
    made.prepare()
    return made


def put(warehouse: Warehouse, number: int, *, kept: int, dropped: int) -> None:
    rows = [
        {"call_id": f"{number}-{index}", "round": number} | ({} if index < kept else DROPPED)
        for index in range(kept + dropped)
    ]
    name = "Calculator" if number == 1 else f"round-{number}.Calculator"
    warehouse.replace_slice(
        "filtered_calls", SHARD, name, frame("filtered_calls", *rows), metadata={}
    )


def outcome(check: dg.AssetChecksDefinition) -> dg.AssetCheckResult:
    result = check(WarehouseResource())
    assert isinstance(result, dg.AssetCheckResult)
    return result


def shares(result: dg.AssetCheckResult) -> dict[str, object]:
    found = {name: each.value for name, each in (result.metadata or {}).items()}
    return {name: value for name, value in found.items() if name != "expected"}


def test_a_round_that_keeps_most_calls_is_seen_beside_one_that_does_not(warehouse: Warehouse):
    assert outcome(share_of_kept_calls_is_plausible).passed
    put(warehouse, 1, kept=1, dropped=9)
    result = outcome(share_of_kept_calls_is_plausible)
    assert result.passed
    assert shares(result) == {"share of kept calls": 0.1}
    put(warehouse, 2, kept=3, dropped=1)
    result = outcome(share_of_kept_calls_is_plausible)
    assert not result.passed
    assert shares(result) == {"share of kept calls": 0.1, "share of kept calls, round 2": 0.75}


def test_a_call_that_two_rounds_hold_is_found(warehouse: Warehouse):
    for number, name in ((1, "Calculator"), (2, "round-2.Calculator")):
        rows = frame("candidate_calls", {"round": number, "call_id": f"c{number}"})
        warehouse.replace_slice("candidate_calls", SHARD, name, rows, metadata={})
    assert outcome(call_ids_are_unique_across_slices).passed
    again = frame("candidate_calls", {"round": 2, "call_id": "c1"})
    warehouse.replace_slice("candidate_calls", SHARD, "round-2.Calculator", again, metadata={})
    assert not outcome(call_ids_are_unique_across_slices).passed


def test_a_run_that_a_check_stops_says_what_the_check_found_and_names_no_stage(
    warehouse: Warehouse,
):
    wrong = frame("filtered_calls", {"is_kept": False, "reason": "below_threshold"})
    warehouse.replace_slice("filtered_calls", SHARD, "Calculator", wrong, metadata={})

    @dg.asset
    def filtered_calls() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [filtered_calls, kept_calls_reach_the_threshold],
            instance=instance,
            resources={"warehouse": WarehouseResource()},
            raise_on_error=False,
        )
    error = failure_of(result.all_events, result.run_id)
    for part in ("kept_calls_reach_the_threshold", f"{SHARD} (1)", f"--force --shards {SHARD}"):
        assert part in str(error)
    assert "Traceback" not in str(error)
    assert 'File "' not in str(error)
    # `toolformer build` looks up behind which stage the shards that did not fail go on.
    assert error.failed_assets == ()


def test_counts_that_are_not_those_of_the_rows_are_named(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    put(warehouse, 1, kept=2, dropped=1)
    assert outcome(counts_are_those_of_the_rows).passed
    # As if a release had counted other things under the same name.
    monkeypatch.setattr(
        "warehouse.warehouse.counts_text",
        lambda name: (
            f"{counts_text(name)} having count(*) > 2"
            if name == "kept_counts"
            else counts_text(name)
        ),
    )
    found = outcome(counts_are_those_of_the_rows)
    assert not found.passed
    assert "kept_counts" in str(found.metadata["wrong counts"].value)


def test_calls_that_are_kept_by_chance_warn(warehouse: Warehouse):
    put(warehouse, 1, kept=10, dropped=90)
    # Nobody measured what foreign results keep.
    assert outcome(kept_calls_are_above_chance).passed
    by_chance = [
        {"call_id": f"1-{index}", "other_call_id": "x", "loss_reduction": gain}
        for index, gain in enumerate([1.5] * 3 + [0.1] * 27)
    ]
    rows = frame("chance_calls", *by_chance)
    warehouse.replace_slice("chance_calls", SHARD, "Calculator", rows, metadata={})
    found = outcome(kept_calls_are_above_chance)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert "not told apart from chance" in str(found.metadata["Calculator"].value)
