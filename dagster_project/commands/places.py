"""Where the runs of a command are done: in its process, or on a Ray cluster (`--on ray`)."""

from collections.abc import Sequence

import dagster as dg

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.runs.planned_run import PlannedRun, run_here
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.settings.sections import Settings


def run_all(
    instance: dg.DagsterInstance,
    options: RunOptions,
    settings: Settings,
    planned: Sequence[PlannedRun],
    *,
    on_ray: bool,
) -> list[RunFailedError]:
    """Have runs done that do not depend on each other; returns what the failed ones say.

    Raises:
        RunInterruptedError: this process was told to stop.
        ToolformerError: on Ray, and nothing here launches runs there, or the daemon that launches
            them is gone.
    """
    if not on_ray:
        return run_here(instance, options.resources(), planned)
    from dagster_project.runs.on_ray import run_on_ray

    return run_on_ray(instance, options.resources(), settings, planned, tell=console.say)
