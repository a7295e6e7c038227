"""What a run costs besides its work, in this process and on a Ray cluster.

The work is the stage `augmented_texts` of one small shard that is built, which loads no model. Its
`dagster.yaml` names a Ray cluster, and `make ui` runs (TOOLFORMER_UI, if not at its usual address).

    TOOLFORMER_HOME=FOLDER python -m benchmarks.runs_on_ray [--times 5]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import dagster as dg

from benchmarks.machine import machine
from dagster_project.commands.options import RunOptions
from dagster_project.expected_errors import RunFailedError
from dagster_project.home import Home
from dagster_project.partitions import SHARD
from dagster_project.runs.on_ray import run_on_ray
from dagster_project.runs.planned_run import PlannedRun, raise_all, run_here
from dagster_project.runs.run_job import dagster_instance

# What the seconds since a run was asked for are told of, in order.
_MOMENTS = {
    "launched": dg.DagsterEventType.PIPELINE_STARTING,
    "begun": dg.DagsterEventType.PIPELINE_START,
    "first_step": dg.DagsterEventType.STEP_START,
    "ended": dg.DagsterEventType.PIPELINE_SUCCESS,
}


def seconds_of_run(
    run: Callable[[Sequence[PlannedRun]], list[RunFailedError]],
    shard: str,
    instance: dg.DagsterInstance,
) -> dict[str, float]:
    """Seconds from asking for a run to its moments, and until its end was known here."""
    asked = time.time()
    raise_all(run([PlannedRun("build_dataset", ("augmented_texts",), (shard,))]))
    known = time.time()
    (recorded,) = instance.get_runs(limit=1)
    first: dict[dg.DagsterEventType, float] = {}
    for entry in instance.all_logs(recorded.run_id):
        if entry.dagster_event is not None:
            first.setdefault(entry.dagster_event.event_type, entry.timestamp)
    seconds = {name: first[kind] - asked for name, kind in _MOMENTS.items() if kind in first}
    return {**seconds, "known": known - asked}


def main() -> None:
    """Measure and print the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()

    home, of_run = Home.find(), RunOptions(force=True)
    settings = of_run.load_settings(home)
    with dagster_instance(home) as instance:
        shard = instance.get_dynamic_partitions(SHARD)[0]
        resources = of_run.resources()
        places: dict[str, Callable[[Sequence[PlannedRun]], list[RunFailedError]]] = {
            "here": partial(run_here, instance, resources),
            "on_ray": partial(run_on_ray, instance, resources, settings, tell=lambda _line: None),
        }
        figures: dict[str, object] = {"machine": machine(), "times": options.times}
        for place, run in places.items():
            measured = [seconds_of_run(run, shard, instance) for _ in range(options.times)]
            figures[place] = {
                name: round(statistics.median(each[name] for each in measured), 2)
                for name in measured[0]
            }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
