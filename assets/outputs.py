"""Outputs that are made once: looked at, waited for, looked at again, made, stored."""

import datetime
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import dagster as dg
import polars as pl
from filelock import FileLock

from assets.inputs import Expected
from assets.run import Run
from toolformer.base.digests import hex_digest
from toolformer.home.fingerprints import FINGERPRINT, ROWS, Fingerprint
from toolformer.home.wiring.workspace import Workspace
from toolformer.sources.manifest import Manifest
from toolformer.stage_cost import StageCost
from warehouse.schema import ALL, table_schema
from warehouse.validation import conform
from warehouse.warehouse import Warehouse

# Columns that differ between equal rows: how an answer was come by.
_VOLATILE = ("duration_ms", "from_cache")
UP_TO_DATE = "up to date"
DONE = "done"
# Table, shard and name of a partition.
Address = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Output(ABC):
    """What a stage makes and stores once, also when several runs ask for it at the same time."""

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
        """Make and store it; return how that ended."""

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
        return self.expected_if_stale() is not None

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
                expected = self.expected_if_stale()
                if expected is None:
                    state = UP_TO_DATE
                elif is_device_held:
                    expected.check_agreement()
                    state = self.make(expected)
                else:
                    continue
                # Also where a kill came between storing the output and removing these.
                if self.leftovers is not None:
                    shutil.rmtree(self.leftovers, ignore_errors=True)
                return state

    def expected_if_stale(self) -> Expected | None:
        """What it is to be made of; None where it is up to date."""
        stored, expected = self.stored(), self.expected()
        is_stale = self.run.force or expected.fingerprint.difference(stored) is not None
        return expected if is_stale else None


@dataclass(frozen=True, slots=True)
class OutputRows:
    """A partition that was made.

    Attributes:
        metadata: stored with them, besides the fingerprint.
        state: how the making ended, for the report.
        side_tables: rows of other tables that belong to them, by table.
        made_of: where that is not what was expected, so that they are out of date at once.
    """

    rows: pl.DataFrame
    metadata: Mapping[str, str] = field(default_factory=dict)
    state: str = DONE
    side_tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    costs: Sequence[StageCost] = ()
    made_of: Fingerprint | None = None


@dataclass(frozen=True, kw_only=True)
class PartitionOutput(Output):
    """A partition of the warehouse.

    Attributes:
        address: table, shard and name of the partition.
        is_foretold: whether its fingerprint is asked for before its rows are known, as those of
            what follows from its inputs alone can be.
    """

    address: Address
    is_foretold: ClassVar[bool] = False

    @property
    def sides(self) -> Mapping[str, str]:
        """By table the partitions of the rows that are made with these, also where there are none.

        They are published with these, all at once.
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
        return self.run.warehouse.partition_metadata(*self.address)

    def make(self, expected: Expected) -> str:
        """See `Output.make`."""
        made = self.compute(expected)
        publish(self.run, self.partitions(expected, made))
        return made.state

    def partitions(self, expected: Expected, made: OutputRows) -> "Made":
        """What is stored of it.

        Raises:
            InputChangedError: its inputs were replaced while it was made.
        """
        own_table, shard, own_name = self.address
        expected.check_unchanged(self.expected())
        made_of = made.made_of or expected.fingerprint
        if not self.is_foretold:
            # Tools may answer otherwise the next time, and other devices sample otherwise: then
            # what was made of those rows is out of date.
            rows = conform(table_schema(own_table), made.rows).drop(*_VOLATILE, strict=False)
            made_of = made_of.with_parts({ROWS: hex_digest(*rows.iter_rows())})
        # With the same fingerprint, by which they are known to belong to these.
        of_sides = {**expected.metadata(), **made_of.metadata()}
        parts = {
            (table, name): (made.side_tables[table], {shard: of_sides})
            for table, name in self.sides.items()
        }
        parts[own_table, own_name] = made.rows, {shard: {**of_sides, **made.metadata}}
        return parts


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


Made = Mapping[tuple[str, str], tuple[pl.DataFrame, Mapping[str, Mapping[str, str]]]]
"""By table and name the rows of partitions, and by shard their metadata."""


def joined(parts: Iterable[Made]) -> Made:
    """The partitions of several shards."""
    frames: dict[tuple[str, str], list[pl.DataFrame]] = {}
    of_shards: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for made in parts:
        for key, (rows, metadata) in made.items():
            frames.setdefault(key, []).append(rows)
            of_shards.setdefault(key, {}).update(metadata)
    return {key: (pl.concat(frames[key]), of_shards[key]) for key in frames}


def publish(run: Workspace, made: Made) -> None:
    """Store partitions, unless a shard was taken out of the corpus while they were made.

    Raises:
        ShardNotFoundError: a shard is retired. Rows stored now would count, and later win over
            those that come back with the shard.
    """
    if shards := {shard for _, of_shards in made.values() for shard in of_shards} - {ALL}:
        manifest = Manifest.load(run.home.sources)
        for shard in shards:
            manifest.entry(shard)
    store_partitions(run.warehouse, made)


def store_partitions(warehouse: Warehouse, made: Made) -> None:
    """Store partitions, each with the present time in its metadata."""
    made_at = {"made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    with_time = {
        key: (rows, {shard: {**metadata, **made_at} for shard, metadata in of_shards.items()})
        for key, (rows, of_shards) in made.items()
    }
    warehouse.replace_partitions(with_time)
