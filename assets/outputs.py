"""Outputs that are made once: looked at, waited for, looked at again, made, stored."""

import datetime
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import polars as pl
from filelock import FileLock

from assets.inputs import Expected
from assets.run import Run, Workspace
from toolformer.home.fingerprints import FINGERPRINT, PARTS, Fingerprint
from toolformer.sources.manifest import Manifest, manifest_path
from toolformer.stage_cost import StageCost
from warehouse.errors import StoreConflictError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

UP_TO_DATE = "up to date"
DONE = "done"
# The Dagster run that made a partition, in its metadata.
RUN = "run"
# Which partitions hold the rows of other tables that were made with a partition, in its metadata.
BESIDE = "beside"
# Table, shard and name of a partition.
Address = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Output(ABC):
    """What a stage makes and stores once, also when several runs ask for it at the same time.

    Attributes:
        run: that makes it.
    """

    run: Run

    @property
    @abstractmethod
    def lock(self) -> FileLock:
        """Make the output once: of two processes, the second finds it made."""

    @abstractmethod
    def expected(self) -> Expected:
        """What it would be made of now; asked again after every wait, and before it is stored."""

    @abstractmethod
    def stored(self) -> Mapping[str, str] | None:
        """What the stored one was made of; None where there is none."""

    @abstractmethod
    def make(self, expected: Expected) -> str:
        """Make and store it; returns how that ended.

        Raises:
            StoreConflictError: another machine has stored it meanwhile.
        """

    @property
    def needs_device(self) -> bool:
        """Whether `make` needs the device that `hold_device` waits for."""
        return False

    def hold_device(self) -> object:
        """Wait for the device and keep it."""
        return self.run.hold_device()

    @property
    def leftovers(self) -> Path | None:
        """The folder in which `make` puts by what it has; removed once the output is there."""
        return None

    def is_stale(self) -> bool:
        """Whether it is to be made."""
        return self._expected_if_stale() is not None

    def data_version(self) -> dg.DataVersion:
        """What Dagster is told of the stored one: equal where it was made of the same."""
        return dg.DataVersion((self.stored() or {})[FINGERPRINT])

    def ensure(self) -> str:
        """Make it unless it is up to date, or has become so by the time its lock is ours.

        Returns:
            What `make` returned, or `up to date`.

        Raises:
            InputChangedError: its inputs do not belong together, or were replaced while it was
                made.
            ShardNotFoundError: see `publish`.
        """
        is_device_held = not self.needs_device
        while True:
            # The device before the lock: a run keeps the device until it ends, and one that held
            # the lock and waited for the device would wait for a run that waits for the lock.
            if not is_device_held and self.is_stale():
                self.hold_device()
                is_device_held = True
            with self.lock:
                expected = self._expected_if_stale()
                if expected is None:
                    state = UP_TO_DATE
                elif is_device_held:
                    state = self._made(expected)
                else:
                    continue
                # Also where a kill came between storing the output and removing these.
                if self.leftovers is not None:
                    shutil.rmtree(self.leftovers, ignore_errors=True)
                return state

    def _expected_if_stale(self) -> Expected | None:
        stored, expected = self.stored(), self.expected()
        is_stale = self.run.force or expected.fingerprint.difference(stored) is not None
        return expected if is_stale else None

    def _made(self, expected: Expected) -> str:
        expected.check_agreement()
        try:
            return self.make(expected)
        except StoreConflictError:
            # Machines that share an object store may make the same at the same time.
            if self.is_stale():
                raise
            return UP_TO_DATE


@dataclass(frozen=True, slots=True)
class OutputRows:
    """A partition that was made.

    Attributes:
        rows: rows of its table.
        metadata: stored with them, besides the fingerprint.
        state: how the making ended, for the report.
        side_tables: rows of other tables that belong to them, by table.
        costs: what making them cost.
    """

    rows: pl.DataFrame
    metadata: Mapping[str, str] = field(default_factory=dict)
    state: str = DONE
    side_tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    costs: Sequence[StageCost] = ()


@dataclass(frozen=True, kw_only=True)
class PartitionOutput(Output):
    """A partition of the warehouse.

    Attributes:
        address: table, shard and name of the partition.
    """

    address: Address

    @property
    def sides(self) -> Mapping[str, str]:
        """By table the partitions of the rows that are made with these, also where there are none.

        They come first: an output whose sides were missing would look complete after a kill. After
        a kill between them they are of another run than these: see `stored_with_sides`.
        """
        return {}

    @abstractmethod
    def compute(self, expected: Expected) -> OutputRows:
        """The rows, of what was looked at."""

    @property
    def lock(self) -> FileLock:
        """See `Output.lock`."""
        return self.run.home.partition_lock(*self.address)

    def stored(self) -> Mapping[str, str] | None:
        """See `Output.stored`."""
        return stored_with_sides(self.run.warehouse, self.address)

    def make(self, expected: Expected) -> str:
        """See `Output.make`."""
        _, shard, _ = self.address
        for table, name in self.sides.items():
            # Looked at now, so that it is not stored if another machine stores it meanwhile.
            self.run.warehouse.partition_version(table, shard, name)
        made = self.compute(expected)
        expected.check_unchanged(self.expected())
        metadata = {**expected.metadata(), **made.metadata}
        # With the same fingerprint, by which they are known to belong to these.
        of_sides = {key: metadata[key] for key in expected.metadata()}
        for table, name in self.sides.items():
            publish(self.run, (table, shard, name), made.side_tables[table], of_sides)
        if self.sides:
            metadata[BESIDE] = json.dumps(list(self.sides.items()))
        publish(self.run, self.address, made.rows, metadata)
        return made.state


def stored_with_sides(warehouse: Warehouse, address: Address) -> dict[str, str] | None:
    """The metadata of a partition; None where there is none.

    Where rows of another table that were made with it are missing, or were made by another run
    that was killed before it stored this partition, the metadata is that of a partition that is
    out of date for this reason.
    """
    stored = warehouse.partition_metadata(*address)
    for table, name in json.loads((stored or {}).get(BESIDE, "[]")):
        side = warehouse.partition_metadata(table, address[1], name)
        if stored and (side or {}).get(FINGERPRINT) != stored[FINGERPRINT]:
            parts = {**json.loads(stored.get(PARTS, "{}")), table: "of another run"}
            return {**stored, FINGERPRINT: "", PARTS: json.dumps(parts)}
    return stored


def data_version_of(warehouse: Warehouse, table: str, shard: str, begin: str = "") -> str:
    """A digest of the fingerprints of a shard's partitions, as far as their names begin so.

    Args:
        begin: the first parts of the names, such as `svamp.finetuned.`
    """
    names = [info.name for info in warehouse.partitions(table, shard)]
    of_these = [name for name in names if f"{name}.".startswith(begin)]
    stored = {name: warehouse.partition_metadata(table, shard, name) for name in of_these}
    return Fingerprint.of(
        {name: metadata and metadata.get(FINGERPRINT) for name, metadata in stored.items()}
    ).digest


def publish(
    run: Workspace, address: Address, rows: pl.DataFrame, metadata: Mapping[str, str]
) -> None:
    """Store a partition, unless its shard was taken out of the corpus while it was made.

    Raises:
        ShardNotFoundError: the shard is retired. Rows stored now would count, and later win over
            those that come back with the shard.
        StoreConflictError: another machine has stored another one since this process looked.
    """
    _, shard, _ = address
    if shard != ALL:
        sources = run.home.sources
        run.home.open(manifest_path(sources))
        Manifest.load(sources).entry(shard)
    store_partition(run.warehouse, address, rows, metadata)


def store_partition(
    warehouse: Warehouse, address: Address, rows: pl.DataFrame, metadata: Mapping[str, str]
) -> None:
    """Store a partition and the time, unless another machine has stored the same meanwhile.

    Raises:
        StoreConflictError: another machine has stored another one since this process looked.
    """
    made_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        warehouse.replace_partition(*address, rows, metadata={**metadata, "made_at": made_at})
    except StoreConflictError:
        stored = warehouse.partition_metadata(*address) or {}
        # Made of the same by another machine, it has the same rows.
        if FINGERPRINT not in metadata or stored.get(FINGERPRINT) != metadata[FINGERPRINT]:
            raise
