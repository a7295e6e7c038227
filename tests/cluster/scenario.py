"""Two nodes build the same shards; the process of a run and a whole node are killed meanwhile.

1. On the worker a command launches a backfill of the first eight shards; in the UI, which the head
   serves, one of all twelve is launched. So every partition of eight shards is wanted by two runs,
   of which one is to make it.
2. When the run on the head has published calls, its process gets -9.
3. When decisions are published and a run is on the worker, the whole worker gets -9, and with it
   the command that was begun there. The worker comes back.
4. Both backfills succeed, and no run is left.
"""

import sys
import time
from dataclasses import dataclass, field, replace

from assets.pipeline import PIPELINE
from tests.browser import Browser
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import Node
from tests.cluster.observed import (
    RunProcess,
    RunRecord,
    has_live_daemon,
    have_ended,
    published,
    run_processes,
    runs_of,
)
from tests.cluster.processes import await_until
from tests.cluster.work import CROSSED, SHARDS, command

UI_PORT = 3000
_SERVICES_SECONDS = 300.0
_RUN_SECONDS = 300.0
_END_SECONDS = 600.0
_OUTAGE_SECONDS = 10.0


@dataclass(slots=True)
class Course:
    """What happened.

    Attributes:
        moments: what was reached, with the seconds since the beginning.
        killed: the runs that were killed, by how.
    """

    moments: list[tuple[float, str]] = field(default_factory=list)
    killed: dict[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def reached(self, what: str) -> None:
        """Note a moment."""
        seconds = round(time.monotonic() - self._began, 1)
        self.moments.append((seconds, what))
        sys.stderr.write(f"{seconds:6.1f} s: {what}\n")
        sys.stderr.flush()

    def timed(self, made: Cluster) -> list[RunRecord]:
        """All runs in their order, with seconds since the beginning."""
        began = time.time() - (time.monotonic() - self._began)

        def since(moment: float | None) -> float | None:
            return None if moment is None else round(moment - began, 1)

        return [
            replace(
                run,
                created=round(run.created - began, 1),
                started=since(run.started),
                ended=since(run.ended),
            )
            for run in sorted(runs_of(made).values(), key=lambda run: run.created)
        ]


def play(made: Cluster, course: Course, *, with_outages: bool = False) -> None:
    """Let it happen.

    Args:
        made: the cluster.
        course: what is noted.
        with_outages: whether store and PostgreSQL are away for some seconds after the kills.

    Raises:
        ServiceError: something did not come, or a backfill failed.
        AssertionError: the UI did not launch it.
    """
    services = made.head.run(command("commands.ui", "-p", str(UI_PORT)), log="services")
    browser = Browser(UI_PORT)
    await_until(
        lambda: browser.is_there() and has_live_daemon(made),
        "the UI and the daemon",
        seconds=_SERVICES_SECONDS,
        processes={"Dagster's services": services},
    )
    course.reached("Dagster's services")
    on_worker = made.worker.run(
        command("cli", "build", "--on", "ray", "--shards", ",".join(CROSSED)), log="build"
    )
    await_until(
        lambda: bool(run_processes(made.head) or run_processes(made.worker)),
        "a run of the command",
        seconds=_SERVICES_SECONDS,
        processes={"Dagster's services": services, "the command": on_worker},
    )
    course.reached("first run")
    browser.launch_backfill(list(PIPELINE.names), list(SHARDS))
    first = _run_that_published(made, made.head, "candidate_calls")
    first.kill()
    course.killed[first.run] = "its process"
    course.reached("process of a run killed")
    # The run on the head may be ahead, and make all that both want.
    second = _run_that_published(made, made.worker, "filtered_calls", or_another=True)
    made.worker.kill()
    course.killed[second.run] = "its node"
    course.reached("node killed")
    made.worker.start()
    if with_outages:
        _interrupt(made, course)
    await_until(
        lambda: have_ended(made, backfills=2),
        "the end of both backfills and of all runs",
        seconds=_END_SECONDS,
        processes={"Dagster's services": services},
    )
    course.reached("no run is left")


def _interrupt(made: Cluster, course: Course) -> None:
    """Take the services away for some seconds each, while a run goes on."""
    await_until(
        lambda: any(run_processes(node) for node in made.nodes), "a run", seconds=_RUN_SECONDS
    )
    if made.store is not None:
        made.store.pause()
        time.sleep(_OUTAGE_SECONDS)
        made.store.go_on()
        course.reached(f"store was away for {_OUTAGE_SECONDS:.0f} s")
    made.postgres.stop()
    time.sleep(_OUTAGE_SECONDS)
    made.postgres.start()
    course.reached(f"PostgreSQL was away for {_OUTAGE_SECONDS:.0f} s")


def _run_that_published(
    made: Cluster, node: Node, table: str, *, or_another: bool = False
) -> RunProcess:
    """Wait for a run on a node that still runs, and until it or another published a partition."""
    found: list[RunProcess] = []

    def is_there() -> bool:
        done = published(made.home_of(node), table)
        found[:] = [
            each for each in run_processes(node) if done[each.run] or (or_another and done.total())
        ]
        return bool(found)

    await_until(is_there, f"{table} of a run on {node.name}", seconds=_RUN_SECONDS)
    return found[0]
