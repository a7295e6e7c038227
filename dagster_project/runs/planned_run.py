"""Runs that a command has done, and where: in this process, or on a Ray cluster (`on_ray.py`).

Does not decide what is run.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg

from dagster_project.expected_errors import RunFailedError
from dagster_project.runs.run_job import run_job


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a job.

    Attributes:
        job: one of `dagster_project.jobs`.
        assets: only these of the job's assets; none for all.
        partitions: keys that are neighbours in the order of registration.
    """

    job: str
    assets: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()


class Runs(Protocol):
    """Where runs are done."""

    @property
    def most_shards(self) -> int | None:
        """Of one run; None where there is no bound."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether this process does them, with what it has."""
        ...

    def start(self, run: PlannedRun) -> None:
        """Have a run done."""
        ...

    def next_ended(self) -> tuple[PlannedRun, RunFailedError | None] | None:
        """Wait for a run that ends, and tell how; None where all have ended."""
        ...


class RunsHere:
    """Runs in this process, one after the other.

    Args:
        instance: records them.
        resources: configuration by resource name.
    """

    most_shards = None
    is_here = True

    def __init__(self, instance: dg.DagsterInstance, resources: Mapping[str, dict[str, Any]]):
        self._instance, self._resources = instance, resources
        self._waiting: deque[PlannedRun] = deque()

    def start(self, run: PlannedRun) -> None:
        """See `Runs`."""
        self._waiting.append(run)

    def next_ended(self) -> tuple[PlannedRun, RunFailedError | None] | None:
        """See `Runs`."""
        if not self._waiting:
            return None
        run = self._waiting.popleft()
        try:
            run_job(
                self._instance,
                run.job,
                resources=dict(self._resources),
                assets=run.assets,
                partitions=run.partitions,
            )
        except RunFailedError as error:
            return run, error
        return run, None


def run_all(runs: Runs, *planned: PlannedRun) -> None:
    """Have runs done that do not depend on each other, to the end of the last.

    Raises:
        RunFailedError: some failed, with what each of them says.
    """
    for each in planned:
        runs.start(each)
    failures: list[RunFailedError] = []
    while ended := runs.next_ended():
        failures += [error for error in ended[1:] if error is not None]
    raise_all(failures)


def raise_all(failures: Sequence[RunFailedError]) -> None:
    """Raise what runs said, as one error, if any failed.

    Raises:
        RunFailedError: if so.
    """
    if failures:
        raise RunFailedError("\n".join(str(failure) for failure in failures))
