"""Executes the runs that a command has planned, in the command's own process."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dagster_project.runs.run_job import run_job
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.partitions import EVALUATIONS, MODEL_VARIANTS, SHARDS

_PARTITIONS: dict[str, dg.PartitionsDefinition[Any]] = {
    "build_dataset": SHARDS,
    "train": MODEL_VARIANTS,
    "evaluate": EVALUATIONS,
}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Assets to materialize together, in one run per range of adjacent partitions."""

    job: str
    assets: tuple[str, ...]
    partitions: tuple[str, ...] = ()


def execute_runs(
    instance: dg.DagsterInstance,
    resources: Mapping[str, Mapping[str, Any]],
    planned: Iterable[PlannedRun],
) -> list[RunFailedError]:
    """Execute all runs one after the other, even if some fail, and return the errors."""
    failures: list[RunFailedError] = []
    for run in planned:
        keys = set(run.partitions)
        known = keys.intersection(
            _PARTITIONS[run.job].get_partition_keys(dynamic_partitions_store=instance)
        )
        if gone := sorted(keys - known):
            failures.append(
                RunFailedError(
                    f"These partitions were skipped, because they no longer exist in Dagster: "
                    f"{', '.join(gone)}. Another command, such as `toolformer sources remove`, "
                    "removed them meanwhile. Run the same command again."
                )
            )
        for partitions in _ranges(instance, _PARTITIONS[run.job], known) if keys else [()]:
            given = {"assets": run.assets, "partitions": partitions}
            try:
                run_job(instance, run.job, resources=resources, **given)
            except RunFailedError as error:
                failures.append(error)
    return failures


def _ranges(
    instance: dg.DagsterInstance, partitions: dg.PartitionsDefinition[Any], keys: Collection[str]
) -> list[Sequence[str]]:
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        ranges = partitions.subset_with_partition_keys(keys).get_partition_key_ranges(partitions)
        return [partitions.get_partition_keys_in_range(each) for each in ranges]


def raise_failures(failures: Sequence[RunFailedError]) -> None:
    """Raise one error with the messages of all failures, if there are any."""
    if failures:
        raise RunFailedError("\n".join(str(failure) for failure in failures))
