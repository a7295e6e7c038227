"""Runs that a command plans and executes in its own process."""

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
    """Assets that are made together; as one run, or as one for each range of partitions.

    Attributes:
        job: one of `dagster_project.jobs`.
        partitions: keys of the assets' partitions; none where all these assets have none.
    """

    job: str
    assets: tuple[str, ...]
    partitions: tuple[str, ...] = ()


def execute_runs(
    instance: dg.DagsterInstance,
    resources: Mapping[str, Mapping[str, Any]],
    planned: Iterable[PlannedRun],
) -> list[RunFailedError]:
    """Execute runs in this process one after the other, to the last even if some fail.

    Returns:
        The errors of failed runs, and of partitions that another command removed meanwhile.

    Raises:
        RunInterruptedError: this process was told to stop.
    """
    failures: list[RunFailedError] = []
    for run in planned:
        keys = set(run.partitions)
        known = keys.intersection(
            _PARTITIONS[run.job].get_partition_keys(dynamic_partitions_store=instance)
        )
        if gone := sorted(keys - known):
            failures.append(
                RunFailedError(
                    "Not made, since Dagster has no partition for them any more: "
                    f"{', '.join(gone)}. Another command removed them meanwhile, such as "
                    "`toolformer sources remove`. Run the same again."
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
    """Return the keys as ranges of neighbours, each for one run."""
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        ranges = partitions.subset_with_partition_keys(keys).get_partition_key_ranges(partitions)
        return [partitions.get_partition_keys_in_range(each) for each in ranges]


def raise_failures(failures: Sequence[RunFailedError]) -> None:
    """Raise what runs said, as one `RunFailedError`, if any failed."""
    if failures:
        raise RunFailedError("\n".join(str(failure) for failure in failures))
