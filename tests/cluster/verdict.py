"""What is wrong in the end: rows unlike those of one machine, partitions not made once, torn files.

The store keeps all versions of the catalogues, which tell how often each partition was made.
"""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from warehouse.published import path_of

from tests.cluster.cluster import Cluster
from tests.cluster.observed import Address, partitions, published, status_of
from tests.cluster.scenario import Course
from tests.cluster.store import STORE
from tests.faults.comparison import damage_of_rows, partitions_of
from tests.homes import SmallHome
from warehouse.layout import is_intact
from warehouse.schema import tables


def wrong(made: Cluster, course: Course, reference: Path) -> list[str]:
    """Look at everything once all has ended."""
    home = _seen_by_a_newcomer(made)
    found, expected = (partitions_of(SmallHome(each)) for each in (home, reference))
    return [
        *_vacuous(course, made, home),
        *damage_of_rows(found, expected).remarks,
        *not_made_once(made.store.publications()),
        *torn(home),
    ]


def _seen_by_a_newcomer(made: Cluster) -> Path:
    """The home as a machine sees it that comes new to the cluster."""
    from toolformer.home.home import Home

    root = made.folder / "newcomer"
    os.environ.update(made.store.environment)
    store = Home(root, root / "cache", STORE).partition_store()
    assert store is not None
    store.record_layout()
    store.fetch(tables())
    return root


def not_made_once(published: Mapping[Address, int]) -> list[str]:
    """Partitions that were published more than once.

    Two machines may make the same at a time; then the second one's is refused.
    """
    return [
        f"{'/'.join(address)} was made {times} times"
        for address, times in published.items()
        if times > 1
    ]


def torn(home: Path) -> list[str]:
    """Files that do not have the bytes that they were written with, or are missing."""
    folder = home / "warehouse"
    paths = [path_of(folder, entry, shard) for (_, shard, _), entry in partitions(home)]
    return [
        f"{path.name} is torn"
        for path in paths
        if path is not None and not (path.exists() and is_intact(path))
    ]


def _vacuous(course: Course, made: Cluster, home: Path) -> list[str]:
    """What did not happen, so that the rest says nothing."""
    by_run: Counter[str] = Counter()
    for table in ("documents", "candidate_calls", "executed_calls", "filtered_calls"):
        by_run += published(home, table)
    remarks = [
        f"the run that lost {how} is {status}, not FAILURE"
        for run, how in course.killed.items()
        if (status := status_of(made, run)) != "FAILURE"
    ]
    if not course.killed.keys() & by_run.keys():
        remarks.append("no run that was killed had published anything")
    if not by_run.keys() - course.killed.keys():
        remarks.append("no run published anything that was not killed")
    return remarks
