"""Where the runs of a command are done: in its process, or on a Ray cluster (`--on ray`).

Does not parse the command line.
"""

import dagster as dg

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.runs.planned_run import Runs, RunsHere
from dagster_project.settings.sections import Settings


def runs_of(
    instance: dg.DagsterInstance, options: RunOptions, settings: Settings, *, on_ray: bool
) -> Runs:
    """Where a command has its runs done.

    Raises:
        ToolformerError: on Ray, and nothing here launches runs there.
    """
    if not on_ray:
        return RunsHere(instance, options.resources())
    from dagster_project.runs.on_ray import RunsOnRay

    return RunsOnRay(instance, options.resources(), settings, tell=console.say)
