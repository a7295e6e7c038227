"""What is seen of a cluster from outside: where its runs are, what they have published.

Reads process tables, files and Dagster's records. Changes nothing.
"""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.nodes import Node
from tests.cluster.processes import ServiceError
from warehouse.versions import partition_of

Address = tuple[str, str, str]
_BEGUN = ("REQUESTED", "IN_PROGRESS", "COMPLETING")
_RUN = re.compile(rb'"(?:pipeline_run_id|run_id)": "([0-9a-f-]{36})"')


@dataclass(frozen=True, slots=True)
class RunProcess:
    """The process of a run.

    Attributes:
        run: its id in Dagster.
        number: of the process, as seen from outside.
        node: where it is.
    """

    run: str
    number: int
    node: Node

    def kill(self) -> None:
        """Kill -9 of this process alone."""
        os.kill(self.number, signal.SIGKILL)


def run_processes(node: Node) -> list[RunProcess]:
    """The processes of runs on a node, without the shells that started them."""
    found = []
    for number in node.processes():
        try:
            words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        match = _RUN.search(b" ".join(words))
        if b"execute_run" in words and match:
            found.append(RunProcess(match[1].decode(), number, node))
    return found


def versions(home: Path) -> Iterator[tuple[Address, Path]]:
    """All versions of partitions that lie in a home, by what they are versions of."""
    for path in home.glob("warehouse/*/shard=*/*@*.parquet"):
        name = partition_of(path)
        shard = path.parent.name.removeprefix("shard=")
        if name is not None and shard.startswith("shard-"):
            yield (path.parent.parent.name, shard, name), path


def published(home: Path, table: str) -> Counter[str]:
    """How many partitions of a table each run has published, by its id."""
    import pyarrow.parquet

    found: Counter[str] = Counter()
    for (of_table, _, _), path in versions(home):
        if of_table == table:
            metadata = pyarrow.parquet.read_metadata(path).metadata or {}
            found[json.loads(metadata[b"toolformer"])["run"]] += 1
    return found


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as Dagster's records have it.

    Attributes:
        run: its id.
        status: such as `SUCCESS`.
        retry_of: the run that it was started anew for; None for a first one.
        created, started, ended: seconds since 1970; None where it did not come to it.
    """

    run: str
    status: str
    retry_of: str | None
    created: float
    started: float | None
    ended: float | None


def runs_of(cluster: Cluster) -> dict[str, RunRecord]:
    """All runs in Dagster's records, by id."""
    with _instance(cluster) as instance:
        return {
            record.dagster_run.run_id: RunRecord(
                record.dagster_run.run_id,
                record.dagster_run.status.value,
                record.dagster_run.parent_run_id,
                record.create_timestamp.timestamp(),
                record.start_time,
                record.end_time,
            )
            for record in instance.get_run_records()
        }


def have_ended(cluster: Cluster, *, backfills: int) -> bool:
    """Whether so many backfills were launched, all have succeeded, and nobody runs any more.

    Raises:
        ServiceError: one failed.
    """
    with _instance(cluster) as instance:
        statuses = [backfill.status.value for backfill in instance.get_backfills()]
        if len(statuses) < backfills or any(status in _BEGUN for status in statuses):
            return False
        if failed := set(statuses) - {"COMPLETED_SUCCESS"}:
            raise ServiceError(f"a backfill ended as {failed.pop()}")
        return all(run.is_finished for run in instance.get_runs())


def has_live_daemon(cluster: Cluster) -> bool:
    """Whether a daemon has signed on, and so launches what is in the queue."""
    with _instance(cluster) as instance:
        return bool(instance.get_daemon_statuses())


def _instance(cluster: Cluster):
    import dagster as dg

    environment = cluster.head.environment
    os.environ["DAGSTER_PG_PASSWORD"] = environment["DAGSTER_PG_PASSWORD"]
    return dg.DagsterInstance.from_config(str(cluster.head.disk / "cache" / "dagster"))
