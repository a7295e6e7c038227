"""Partitions are reported one by one, as Dagster reports them together."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from assets.partition_events import REPORTED, PartitionEvents, PartitionReports
from dagster_project.run_tags import RANGE_END_TAG, RANGE_START_TAG

KEYS = ["a", "b", "c"]
ASSET, BEFORE = dg.AssetKey("texts"), dg.AssetKey("documents")
DECLARATION: dict[str, Any] = {
    "name": "texts",
    "partitions_def": dg.StaticPartitionsDefinition(KEYS),
    "deps": [BEFORE],
    "backfill_policy": dg.BackfillPolicy.multi_run(len(KEYS)),
    "code_version": "7",
}


def metadata(key: str) -> dict[str, object]:
    return {"rows": KEYS.index(key), "preset": "laptop"}


@dg.asset(**DECLARATION)
def together(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for key in context.partition_keys:
        context.add_asset_metadata({"rows": KEYS.index(key)}, partition_key=key)
    return dg.MaterializeResult(metadata={"preset": "laptop"})


@dg.asset(**DECLARATION)
def one_by_one(context: dg.AssetExecutionContext) -> PartitionEvents:
    reports = PartitionReports(context)
    for number, key in enumerate(context.partition_keys):
        before = set(context.partition_keys[:number])
        assert context.instance.get_materialized_partitions(ASSET) == before
        yield reports.of(key, metadata(key))
    yield REPORTED


@dg.asset(**DECLARATION)
def without_the_second(context: dg.AssetExecutionContext) -> PartitionEvents:
    reports = PartitionReports(context)
    for key in (KEYS[2], KEYS[0]):
        yield reports.of(key, metadata(key))
    raise dg.Failure("b is bad", allow_retries=False)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        for key in KEYS:
            tags = {"dagster/data_version": f"version of {key}"}
            made.report_runless_asset_event(
                dg.AssetMaterialization(BEFORE, partition=key, tags=tags)
            )
        yield made


def made(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition, first: str = "a", last: str = "c"
) -> list[dg.AssetMaterialization]:
    """What a run over a range reports."""
    before = dg.AssetSpec(BEFORE, partitions_def=DECLARATION["partitions_def"])
    result = dg.materialize(
        [before, asset],
        instance=instance,
        tags={RANGE_START_TAG: first, RANGE_END_TAG: last, "dagster/backfill": "backfill1"},
        raise_on_error=False,
    )
    events = result.get_asset_materialization_events()
    return [event.step_materialization_data.materialization for event in events]


@pytest.mark.parametrize("partitions", ["abc", "b"])
def test_each_is_reported_once_and_as_dagster_reports_it(
    instance: dg.DagsterInstance, partitions: str
):
    first, last = partitions[0], partitions[-1]
    expected = sorted(made(instance, together, first, last), key=lambda event: str(event.partition))
    assert [event.partition for event in expected] == list(partitions)
    instance.wipe_assets([ASSET])
    assert made(instance, one_by_one, first, last) == expected


def test_those_that_were_made_before_a_failure_stay_reported(instance: dg.DagsterInstance):
    assert [event.partition for event in made(instance, without_the_second)] == ["c", "a"]
    assert instance.get_materialized_partitions(ASSET) == {"a", "c"}


@dg.asset(**DECLARATION)
def versioned(context: dg.AssetExecutionContext) -> PartitionEvents:
    reports = PartitionReports(context)
    for key in context.partition_keys:
        yield reports.of(key, metadata(key), data_version=f"made of {key}")
    yield REPORTED


def test_a_given_data_version_does_not_follow_from_which_partitions_ran_together(
    instance: dg.DagsterInstance,
):
    def version(asset: dg.AssetsDefinition, first: str, last: str) -> str:
        events = {event.partition: event for event in made(instance, asset, first, last)}
        tags = events["b"].tags
        assert tags
        return tags["dagster/data_version"]

    assert version(versioned, "b", "b") == version(versioned, "a", "c") == "made of b"
    # Dagster's own does.
    assert version(together, "b", "b") != version(together, "a", "c")
