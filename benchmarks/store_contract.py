"""What the place of the partitions promises to several writers, tried: nothing lost, nothing torn.

Writers add one to a number that stands in every row of a partition, the way the project replaces a
partition: take the partition's lock, look, read, replace. Readers read all the while. *Conflicts*
are locks that somebody else had, or publications that were refused because the partition had
changed; *lost* are additions that are missing at the end; *torn* are partitions whose rows disagree
or that cannot be read; *back* are numbers that went down for a reader.

    python -m benchmarks.store_contract [--places folder s3 folder-without-locks]

The store (moto) is started on this machine unless `--store` names another, whose credentials the
environment has. With a store nobody locks: the numbers of versions, each taken once, keep the
promise. `folder-without-locks` loses additions, as it must: it shows that this program would see
it. Each process has a cache of its own, and with a store a mirror of its own, as if it were a
machine.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import polars as pl
from filelock import BaseFileLock, Timeout

from benchmarks.machine import machine
from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse
from warehouse.errors import DamagedPartitionError, StoreConflictError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

_TABLE = "documents"
_ROWS = 50
_START_SECONDS = 300.0
_PLACES = ("folder", "s3", "folder-without-locks")


@dataclass(frozen=True, slots=True)
class Trial:
    """How much is tried, and where.

    Attributes:
        environment: of each process; `{process}` stands for its name.
        takes_locks: whether a writer holds the partition's lock.
        writers, readers, partitions, increments: how many; a writer adds so often to each
            partition.
    """

    environment: Mapping[str, str]
    takes_locks: bool
    writers: int
    readers: int
    partitions: int
    increments: int

    @property
    def shards(self) -> list[str]:
        """Each has one partition."""
        return [f"shard-{number:05d}" for number in range(self.partitions)]


def _open(trial: Trial, process: str) -> tuple[Home, Warehouse]:
    for name, value in trial.environment.items():
        os.environ[name] = value.format(process=process)
    home = Home.find()
    return home, open_warehouse(home)


def _rows(shard: str, number: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": [f"{shard}-{row}" for row in range(_ROWS)],
            "shard": shard,
            "text": f"{number} " * 100,
            "source": "benchmark",
            "source_offset": number,
        }
    )


def _number(frame: pl.DataFrame) -> int | None:
    """What all rows say; None where they disagree."""
    numbers = frame["source_offset"].unique().to_list()
    is_whole = len(numbers) == 1 and frame.height == _ROWS
    return numbers[0] if is_whole and set(frame["text"]) == {f"{numbers[0]} " * 100} else None


# --- processes ----------------------------------------------------------------------------------


def _write(trial: Trial, process: str, ready: Barrier, told: Any) -> None:
    home, warehouse = _open(trial, process)
    order = trial.shards * trial.increments
    random.Random(process).shuffle(order)
    conflicts = 0
    ready.wait(_START_SECONDS)
    for shard in order:
        lock = home.partition_lock(_TABLE, shard, ALL) if trial.takes_locks else nullcontext()
        if isinstance(lock, BaseFileLock):
            conflicts += _is_held(lock)
        with lock:
            while not _add(warehouse, shard):
                conflicts += 1
    told.put(("conflicts", conflicts))


def _is_held(lock: BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=0).lock.release()
    except Timeout:
        return True
    return False


def _add(warehouse: Warehouse, shard: str) -> bool:
    """Adds one; returns whether the store took it, which refuses what was written meanwhile."""
    found = warehouse.partition_version(_TABLE, shard, ALL)
    number = int(found[1]["number"]) if found else 0
    if found and _number(warehouse.read_partition(_TABLE, shard, ALL)) is None:
        raise RuntimeError(f"A writer read a torn partition of {shard}.")
    # As the run is in what a stage stores: what two processes make has different digests.
    metadata = {"number": str(number + 1), "run": str(os.getpid())}
    try:
        warehouse.replace_partition(_TABLE, shard, ALL, _rows(shard, number + 1), metadata=metadata)
    except StoreConflictError:
        return False
    return True


def _read(trial: Trial, process: str, ready: Barrier, told: Any, over: Event) -> None:
    _, warehouse = _open(trial, process)
    last: dict[str, int] = {}
    counts = {"reads": 0, "torn": 0, "back": 0}
    ready.wait(_START_SECONDS)
    while not over.is_set():
        for shard in trial.shards:
            number = _read_number(warehouse, shard)
            counts["reads"] += 1
            counts["torn"] += number is None
            counts["back"] += (number or 0) < last.get(shard, 0)
            last[shard] = max(number or 0, last.get(shard, 0))
    for count in counts.items():
        told.put(count)


def _read_number(warehouse: Warehouse, shard: str) -> int | None:
    try:
        # As a stage looks at its input, and then reads it.
        warehouse.partition_version(_TABLE, shard, ALL)
        return _number(warehouse.read_partition(_TABLE, shard, ALL))
    except DamagedPartitionError:
        return None


# --- a trial ------------------------------------------------------------------------------------


def run(trial: Trial) -> dict[str, float]:
    """Conflicts, lost, torn, back, reads and seconds of one trial."""
    processes = multiprocessing.get_context("spawn")
    ready = processes.Barrier(trial.writers + trial.readers + 1)
    told, over = processes.Queue(), processes.Event()
    _, warehouse = _open(trial, "watcher")
    for shard in trial.shards:
        warehouse.replace_partition(_TABLE, shard, ALL, _rows(shard, 0), metadata={"number": "0"})
    writers = [
        processes.Process(target=_write, args=(trial, f"writer-{number}", ready, told))
        for number in range(trial.writers)
    ]
    readers = [
        processes.Process(target=_read, args=(trial, f"reader-{number}", ready, told, over))
        for number in range(trial.readers)
    ]
    for process in (*writers, *readers):
        process.start()
    ready.wait(_START_SECONDS)
    began = time.perf_counter()
    for process in writers:
        process.join()
    seconds = time.perf_counter() - began
    over.set()
    for process in readers:
        process.join()
    failed = [process.name for process in (*writers, *readers) if process.exitcode]
    if failed:
        raise RuntimeError(f"{', '.join(failed)} failed; see above.")
    figures = {"conflicts": 0.0, "torn": 0, "back": 0, "reads": 0}
    for _ in range(len(writers) + 3 * len(readers)):
        name, count = told.get(timeout=60)
        figures[name] += count
    wanted = trial.writers * trial.partitions * trial.increments
    found = sum(_read_number(warehouse, shard) or 0 for shard in trial.shards)
    return {"lost": wanted - found, **figures, "additions": wanted, "seconds": round(seconds, 1)}


@contextmanager
def _place(name: str, work: Path, store: str | None) -> Iterator[dict[str, str]]:
    """The environment of one place; a server that it needs runs until the end of the block."""
    from tests.s3 import running_store

    environment = {
        "TOOLFORMER_HOME": str(work / "home"),
        "TOOLFORMER_STORE": "",
        "TOOLFORMER_CACHE": str(work / "{process}" / "cache"),
    }
    with ExitStack() as stack:
        if name == "s3":
            if store is None:
                server = stack.enter_context(running_store())
                os.environ.update(server.environment)
                server.make_bucket("contract")
                store = "s3://contract"
            environment["TOOLFORMER_HOME"] = str(work / "{process}" / "home")
            environment["TOOLFORMER_STORE"] = f"{store}/{work.name}"
        yield environment


def main() -> None:
    """Try each place and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--places", nargs="+", choices=_PLACES, default=list(_PLACES[:2]))
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=20)
    parser.add_argument("--increments", type=int, default=5)
    parser.add_argument("--store", help="s3://bucket/prefix")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(), "places": {}}
    for name in options.places:
        with (
            tempfile.TemporaryDirectory(prefix="toolformer-contract-") as work,
            _place(name, Path(work), options.store) as environment,
        ):
            trial = Trial(
                environment,
                name == "folder",
                options.writers,
                options.readers,
                options.partitions,
                options.increments,
            )
            figures["places"][name] = run(trial)
        print(name, json.dumps(figures["places"][name]), file=sys.stderr)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
