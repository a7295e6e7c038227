"""What is seen of a cluster from outside: where its runs are, what they have published.

Reads process tables, files and Dagster's records. Changes nothing.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.nodes import Node
from tests.processes import ServiceError
from warehouse.catalogue import Entry, read_catalogue, shards_in
from warehouse.schema import ALL

Address = tuple[str, str, str]
_BEGUN = ("REQUESTED", "IN_PROGRESS", "COMPLETING")
_RUN = re.compile(rb'"(?:pipeline_run_id|run_id)": "([0-9a-f-]{36})"')


def run_processes(node: Node) -> dict[str, int]:
    """The processes of runs on a node by the run's id, without the shells that started them."""
    found = {}
    for number in node.processes():
        try:
            words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        match = _RUN.search(b" ".join(words))
        if b"execute_run" in words and match:
            found[match[1].decode()] = number
    return found


def partitions(home: Path) -> Iterator[tuple[Address, Entry]]:
    """All partitions of shards that a home has, by what they are."""
    folder = home / "warehouse"
    for shard in shards_in(folder):
        if shard != ALL:
            for entry in read_catalogue(folder, shard).entries():
                yield (entry.table, shard, entry.name), entry


def published(home: Path, table: str) -> Counter[str]:
    """How many partitions of a table each run has published, by its id."""
    return Counter(
        entry.metadata["run"] for address, entry in partitions(home) if address[0] == table
    )


def status_of(cluster: Cluster, run: str) -> str:
    """Of a run in Dagster's records, such as `SUCCESS`."""
    with _instance(cluster) as instance:
        found = instance.get_run_by_id(run)
    return "unknown" if found is None else found.status.value


def have_ended(cluster: Cluster, *, backfills: int) -> bool:
    """Whether so many backfills were launched, all have made all, and nobody runs any more."""
    with _instance(cluster) as instance:
        launched = instance.get_backfills()
        if len(launched) < backfills or any(each.status.value in _BEGUN for each in launched):
            return False
        if failed := [each for each in launched if each.status.value != "COMPLETED_SUCCESS"]:
            raise ServiceError(f"These backfills failed: {failed}")
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
