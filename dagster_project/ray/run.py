"""The process of a run on Ray: executes it as Dagster does, and ends itself once it is over.

    python -m dagster_project.ray.run api execute_run '<arguments>'

Where a node or the head of Ray is gone, Dagster fails the run and starts it anew elsewhere, and
nobody ends the old process: it was seen to go on computing for as long as it had work. So it asks
Dagster now and then whether it is still wanted.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import dagster as dg

from dagster_project.ray.records import unreadable

_LOGGER = logging.getLogger(__name__)
# A run is over in the moment in which its own process ends, too: it is given the time between two
# looks to do so.
_SECONDS_BETWEEN_LOOKS = 5.0


class Watch:
    """Looks now and then whether a run is over, and ends its process.

    Args:
        why_over: why the run is over; None while it is not. It may raise `TimeoutError` where
            Dagster's records cannot be read, for however long: the run then goes on.
        end: ends the process, told why.
        seconds: between two looks.
    """

    def __init__(
        self,
        why_over: Callable[[], str | None],
        end: Callable[[str], None],
        *,
        seconds: float = _SECONDS_BETWEEN_LOOKS,
    ):
        self._why_over, self._end, self._seconds = why_over, end, seconds
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-of-run", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """The run has come to its end by itself."""
        self._is_done.set()
        self._thread.join()

    def _watch(self) -> None:
        looks_that_saw_the_end = 0
        while not self._is_done.wait(self._seconds):
            try:
                why = self._why_over()
            except TimeoutError as error:
                _LOGGER.warning("Dagster's records cannot be read, the run goes on: %s", error)
                continue
            if why is None:
                continue
            looks_that_saw_the_end += 1
            if looks_that_saw_the_end > 1:
                self._end(why)
                return


def why_over(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Why nothing of a run is wanted any more; None while it is.

    Raises:
        TimeoutError: the records cannot be read now.
    """
    try:
        run = instance.get_run_by_id(run_id)
    except unreadable() as error:
        raise TimeoutError(str(error)) from error
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
    """Execute a run.

    Args:
        arguments: of `dagster`, as Dagster's launchers make them; the last one is a document.
    """
    from dagster._cli import main as dagster_main  # pyright: ignore[reportPrivateImportUsage]
    from dagster._grpc.types import ExecuteRunArgs
    from dagster_shared.serdes import deserialize_value

    told = deserialize_value(arguments[-1], ExecuteRunArgs)
    # An instance of its own: the run's may be busy.
    reference = told.instance_ref
    with (
        dg.DagsterInstance.from_ref(reference) if reference else dg.DagsterInstance.get()
    ) as instance:
        watch = Watch(lambda: why_over(instance, told.run_id), end_at_once)
        watch.start()
        sys.argv = ["dagster", *arguments]
        try:
            dagster_main()
        finally:
            watch.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
