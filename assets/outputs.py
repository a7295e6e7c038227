"""Outputs that are made once: looked at, waited for, looked at again, made, stored.

Does not know what an output is made of: the caller hands in how to look at it, and its maker.
"""

import datetime
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from assets.inputs import Wanted
from dagster_project.home import Home
from dagster_project.shared_files import bring
from toolformer.ground.locking import Lock
from toolformer.sources.manifest import Manifest, manifest_path
from toolformer.stage_cost import StageCost
from warehouse.errors import StoreConflictError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

UP_TO_DATE = "up to date"
DONE = "done"


@dataclass(frozen=True, slots=True)
class Made:
    """A slice that was made.

    Attributes:
        rows: of its table.
        metadata: stored with them, besides the fingerprint.
        state: how the making ended, for the report.
        beside: rows of other tables that belong to them, by table.
        costs: of making them.
    """

    rows: pl.DataFrame
    metadata: Mapping[str, str] = field(default_factory=dict)
    state: str = DONE
    beside: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    costs: Sequence[StageCost] = ()


def make_once(
    lock: Lock,
    *,
    is_stale: Callable[[], bool],
    make: Callable[[], str],
    hold_device: Callable[[], object] | None = None,
    leftovers: Path | None = None,
) -> str:
    """Make an output unless it is up to date, or has become so by the time its lock is ours.

    Args:
        lock: of this output; of two processes one makes it, and the other finds it made.
        is_stale: whether it is to be made.
        make: makes and stores it; returns how that ended. What takes long asks `lock.regain`
            before it stores, since a lock in a database goes with the connection.
        hold_device: waits for the device that `make` needs, and keeps it.
        leftovers: a folder in which the maker puts by what it has; removed once the output is
            there, also where a kill came in between.

    Returns:
        What `make` returned, or `up to date`.
    """
    is_device_held = hold_device is None
    while True:
        # The device before the lock: a run keeps the device until it ends, and one that held the
        # lock and waited for the device would wait for a run that waits for the lock.
        if hold_device is not None and not is_device_held and is_stale():
            hold_device()
            is_device_held = True
        with lock:
            if is_stale():
                if not is_device_held:
                    continue
                state = make()
            else:
                state = UP_TO_DATE
            if leftovers is not None:
                shutil.rmtree(leftovers, ignore_errors=True)
            return state


def replace_slice_if_stale(
    warehouse: Warehouse,
    home: Home,
    address: tuple[str, str, str],
    wanted: Callable[[], Wanted],
    make: Callable[[Wanted], Made],
    *,
    force: bool,
    hold_device: Callable[[], object] | None = None,
    leftovers: Path | None = None,
) -> str:
    """Make a slice of the warehouse unless it is there with the same fingerprint.

    Args:
        warehouse, home: where it is stored, and where its lock is.
        address: table, shard and name of the slice.
        wanted: looks at what it is made of; asked again after every wait and before publishing.
        make: computes the rows from what was looked at.
        force: make it all the same.
        hold_device: see `make_once`.
        leftovers: see `make_once`.

    Returns:
        The state of what was made, or `up to date`.

    Raises:
        InputChangedError: its inputs do not belong together, or were replaced while it was made.
        ShardNotFoundError: see `publish`.
    """

    def is_stale() -> bool:
        stored = warehouse.slice_metadata(*address)
        return force or wanted().fingerprint.difference(stored) is not None

    def replace() -> str:
        looked_at = wanted()
        looked_at.check_agreement()
        made = make(looked_at)
        if lock.regain() and not is_stale():
            return UP_TO_DATE
        looked_at.check_unchanged(wanted())
        made_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        metadata = {
            **looked_at.metadata(),
            **made.metadata,
            "made_at": made_at,
        }
        try:
            publish(warehouse, home, address, made.rows, metadata)
        except StoreConflictError:
            # Another machine made it although the lock was ours: it was lost on the way.
            if is_stale():
                raise
            return UP_TO_DATE
        return made.state

    lock = home.slice_lock(*address)
    return make_once(
        lock,
        is_stale=is_stale,
        make=replace,
        hold_device=hold_device,
        leftovers=leftovers,
    )


def publish(
    warehouse: Warehouse,
    home: Home,
    address: tuple[str, str, str],
    rows: pl.DataFrame,
    metadata: Mapping[str, str],
) -> None:
    """Store a slice, unless its shard was taken out of the corpus while it was made.

    Args: See `replace_slice_if_stale`.

    Raises:
        ShardNotFoundError: the shard is retired. Rows stored now would count, and later win over
            those that come back with the shard.
    """
    _, shard, _ = address
    if shard != ALL:
        bring(home, manifest_path(home.sources))
        Manifest.load(home.sources).entry(shard)
    warehouse.replace_slice(*address, rows, metadata=metadata)
