"""What is wrong in the end: rows unlike those of one machine, partitions made twice, leftovers.

"Made once" is counted in what was published. In a folder a version of a partition is a file of its
own, which stays for ten minutes after another took its place. An object store logs how often a
version of a partition was put there. What a stage stores on the way to its partition is left out: a
kill in between leaves that for whoever makes the partition.
"""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.observed import Address, runs_of, versions
from tests.cluster.scenario import Course
from tests.cluster.store import BUCKET, HOME
from tests.faults.comparison import damage_of_rows, partitions_of
from tests.faults.home import FaultyHome
from warehouse.schema import tables
from warehouse.versions import is_intact

_STORED_ON_THE_WAY = ("document_selection", "rejected_records", "stage_costs")


def seen_by_a_newcomer(made: Cluster) -> Path:
    """The home as a machine sees it that comes new to the cluster."""
    if made.store is None:
        return made.home_of(made.head)
    from dagster_project.home import Home

    root = made.folder / "newcomer"
    os.environ.update(made.store.environment)
    home = Home(root, root / "cache", f"s3://{BUCKET}/{HOME}")
    store = home.partition_store()
    assert store is not None
    store.record_layout()
    store.bring(tables())
    return root


def publications_in_folder(home: Path) -> Counter[Address]:
    """How often each partition of a shard was published in a folder."""
    return Counter(address for address, _ in versions(home))


def publications(made: Cluster) -> Counter[Address]:
    """How often each partition of a shard was published, wherever that is."""
    if made.store is None:
        return publications_in_folder(made.home_of(made.head))
    found: Counter[Address] = Counter()
    for address, count in made.store.publications().items():
        if address[1].startswith("shard-"):
            found[address] = count
    return found


def not_made_once(
    published: Mapping[Address, int], home: Path, *, has_locks: bool = True
) -> list[str]:
    """Partitions of a home that were not published once.

    Args:
        published: how often each was.
        home: with the partitions.
        has_locks: whether machines exclude each other; with an object store two may make the same,
            and the second publication is taken back.
    """
    return [
        f"{'/'.join(address)} was published {published.get(address, 0)} times"
        for address in sorted({address for address, _ in versions(home)})
        if address[0] not in _STORED_ON_THE_WAY
        and (published.get(address, 0) != 1 if has_locks else address not in published)
    ]


def wrong_rows(home: Path, reference: Path) -> list[str]:
    """How the rows of a home differ from those of the reference."""
    found, expected = (partitions_of(FaultyHome(each)) for each in (home, reference))
    return damage_of_rows(found, expected).remarks


def torn(home: Path) -> list[str]:
    """Files that do not have the bytes that they were written with."""
    return [f"{path.name} is torn" for _, path in versions(home) if not is_intact(path)]


def left_over(made: Cluster) -> list[str]:
    """Checkpoints of partitions that are finished.

    With an object store a checkpoint lies on the node that was killed, and stays until that node
    looks at the shard again.
    """
    if made.store is not None:
        return []
    found = (made.home_of(made.head) / "cache" / "checkpoints").rglob("*")
    return [f"checkpoint {path.name} is left" for path in found if path.is_file()]


def vacuous(course: Course, made: Cluster, by_run: Mapping[str, int]) -> list[str]:
    """What did not happen, so that the rest says nothing."""
    states = runs_of(made)
    remarks = [
        f"the run that lost {how} is {states[run].status}, not FAILURE"
        for run, how in course.killed.items()
        if states[run].status != "FAILURE"
    ]
    if not course.killed.keys() & by_run.keys():
        remarks.append("no run that was killed had published anything")
    if not by_run.keys() - course.killed.keys():
        remarks.append("no run published anything that was not killed")
    return remarks
