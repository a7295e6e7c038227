"""The process of a run on Ray: executes it as Dagster does, and ends itself once it is over.

    python -m dagster_project.ray.run api execute_run '<arguments>'

When a node or the head of Ray is lost, Dagster fails the run and starts it again elsewhere, but
nobody ends the old process, which would go on computing. So the process asks Dagster now and then
whether its run is still current.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

import dagster as dg

_LOGGER = logging.getLogger(__name__)
# A run is over in the moment in which its own process ends, too: it is given the time between two
# looks to do so.
_SECONDS_BETWEEN_LOOKS = 5.0


def watch(
    instance: dg.DagsterInstance,
    run_id: str,
    is_done: threading.Event,
    *,
    seconds: float = _SECONDS_BETWEEN_LOOKS,
) -> None:
    """Look now and then whether a run is over, and end its process at the second look that says so.

    Args:
        instance: has the run; while its records cannot be read, the run goes on.
        is_done: set when the run has come to its end by itself.
    """
    was_over = False
    while not is_done.wait(seconds):
        try:
            why = why_over(instance, run_id)
        except unreadable() as error:
            _LOGGER.warning("Dagster's records cannot be read; the run continues: %s", error)
            continue
        if why is not None and was_over:
            end_at_once(why)
            return
        was_over = was_over or why is not None


def unreadable() -> tuple[type[Exception], ...]:
    """The errors of records in PostgreSQL that cannot be read now, and may be again in a minute."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        from dagster_postgres.utils import DagsterPostgresException  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return SQLAlchemyError, OSError
    return SQLAlchemyError, OSError, DagsterPostgresException


def why_over(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Why nothing of a run is wanted any more; None while it is."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return "it is no longer in Dagster's records"
    return f"it is {run.status.value}" if run.is_finished else None


def end_at_once(why: str) -> None:
    """Kill this process and those that it started, before they publish anything more."""
    sys.stderr.write(f"This run is over in Dagster ({why}); its process ends.\n")
    sys.stderr.flush()
    # Ray starts every run in a session of its own, so this group is the run's alone.
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    """Execute a run by arguments of `dagster`, as its launchers make them; the last is JSON."""
    from dagster._cli import main as dagster_main  # pyright: ignore[reportPrivateImportUsage]
    from dagster._grpc.types import ExecuteRunArgs
    from dagster_shared.serdes import deserialize_value

    run = deserialize_value(arguments[-1], ExecuteRunArgs)
    # An instance of its own: the run's may be busy.
    reference = run.instance_ref
    with (
        dg.DagsterInstance.from_ref(reference) if reference else dg.DagsterInstance.get()
    ) as instance:
        is_done = threading.Event()
        watching = threading.Thread(target=watch, args=(instance, run.run_id, is_done), daemon=True)
        watching.start()
        sys.argv = ["dagster", *arguments]
        try:
            dagster_main()
        finally:
            is_done.set()
            watching.join()


if __name__ == "__main__":
    main(sys.argv[1:])
