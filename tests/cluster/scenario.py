"""Two nodes build the same shards; the process of a run and a whole node are killed meanwhile.

1. In the UI, which the head serves, a backfill of the first five shards is launched, and one of all
   eight. So every partition of five shards is wanted by two runs, of which one is to make it.
2. When the run on the head has published calls, its process gets -9.
3. When decisions are published and a run is on the worker, the whole worker gets -9. The worker
   comes back.
4. Both backfills succeed, and no run is left.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass, field

from assets.dataset.stages import PIPELINE
from tests.browser import Browser
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import Node
from tests.cluster.observed import has_live_daemon, have_ended, published, run_processes
from tests.cluster.work import CROSSED, SHARDS
from tests.homes import command
from tests.processes import await_until

UI_PORT = 3000
_SERVICES_SECONDS = 300.0
_RUN_SECONDS = 300.0
_END_SECONDS = 600.0


@dataclass(slots=True)
class Course:
    """What happened: the runs that were killed, by what they lost."""

    killed: dict[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def reached(self, what: str) -> None:
        """Tell of a moment."""
        sys.stderr.write(f"{time.monotonic() - self._began:6.1f} s: {what}\n")
        sys.stderr.flush()


def play(made: Cluster, course: Course) -> None:
    """Let it happen."""
    services = made.head.run(command("commands.ui", "-p", str(UI_PORT)), log="services")
    running = {"Dagster's services": services}
    browser = Browser(UI_PORT)
    await_until(
        lambda: browser.is_there() and has_live_daemon(made),
        "the UI and the daemon",
        _SERVICES_SECONDS,
        running,
    )
    course.reached("Dagster's services")
    for shards in (CROSSED, SHARDS):
        browser.launch_backfill(list(PIPELINE.names), list(shards))
    run, process = _run_that_published(made.head, "candidate_calls")
    os.kill(process, signal.SIGKILL)
    course.killed[run] = "its process"
    course.reached("process of a run killed")
    # The run on the head may be ahead, and make all that both want.
    run, _ = _run_that_published(made.worker, "filtered_calls", or_another=True)
    made.worker.kill()
    course.killed[run] = "its node"
    course.reached("node killed")
    made.worker.start()
    await_until(
        lambda: have_ended(made, backfills=2),
        "the end of both backfills and of all runs",
        _END_SECONDS,
        running,
    )
    course.reached("no run is left")


def _run_that_published(node: Node, table: str, *, or_another: bool = False) -> tuple[str, int]:
    """Wait for a run on a node that still runs, and until it or another published a partition."""
    found: list[tuple[str, int]] = []

    def is_there() -> bool:
        done = published(node.disk / "home", table)
        found[:] = [
            (run, process)
            for run, process in run_processes(node).items()
            if done[run] or (or_another and done.total())
        ]
        return bool(found)

    await_until(is_there, f"{table} of a run on {node.name}", _RUN_SECONDS)
    return found[0]
