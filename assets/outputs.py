"""Makes an output once, even if several runs need it at the same time.

Each run checks whether the output is stale, waits for its lock, checks again, and only then makes
and publishes it.
"""

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

# Columns that may differ between equal rows: they say how an answer was obtained.
_VOLATILE = ("duration_ms", "from_cache")
UP_TO_DATE = "up to date"
DONE = "done"
# Table, shard and name of a partition.
Address = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Output(ABC):
    """Something that a stage makes and stores: a partition, or files in a model's directory."""

    run: Run

    @property
    @abstractmethod
    def lock(self) -> FileLock:
        """Lock to hold while the output is checked and made."""

    @abstractmethod
    def expected(self) -> Expected:
        """Return the inputs and fingerprint as of now; called again before publishing."""

    @abstractmethod
    def stored(self) -> Mapping[str, str] | None:
        """Return the metadata of the stored output; None if there is none."""

    @abstractmethod
    def make(self, expected: Expected) -> str:
        """Make and store the output; return its state for the report."""

    @property
    def needs_device(self) -> bool:
        return False

    def hold_device(self) -> object:
        return self.run.hold_device()

    @property
    def scratch_folder(self) -> Path | None:
        """Folder for unfinished work of `make`, removed once the output is stored."""
        return None

    def is_stale(self) -> bool:
        return self.expected_if_stale() is not None

    def data_version(self) -> dg.DataVersion:
        return dg.DataVersion((self.stored() or {})[FINGERPRINT])

    def ensure(self) -> str:
        """Make the output if it is stale; return its state, or `up to date` if it was not stale."""
        is_device_held = not self.needs_device
        while True:
            # Take the device before the lock. A run keeps the device until it ends, so a run that
            # held the lock and waited for the device could deadlock with one that has the device.
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
                # Remove it even if the output is up to date: a run may have been killed between
                # storing the output and removing the folder.
                if self.scratch_folder is not None:
                    shutil.rmtree(self.scratch_folder, ignore_errors=True)
                return state

    def expected_if_stale(self) -> Expected | None:
        stored, expected = self.stored(), self.expected()
        is_stale = self.run.force or expected.fingerprint.difference(stored) is not None
        return expected if is_stale else None


@dataclass(frozen=True, slots=True)
class OutputRows:
    """Computed rows of a partition, and of the side tables published with it.

    `actual_fingerprint` replaces the expected one, so that unfinished rows are stale at once.
    """

    rows: pl.DataFrame
    metadata: Mapping[str, str] = field(default_factory=dict)
    state: str = DONE
    side_tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    costs: Sequence[StageCost] = ()
    actual_fingerprint: Fingerprint | None = None


@dataclass(frozen=True, kw_only=True)
class PartitionOutput(Output):
    """A partition of the warehouse.

    Set `fingerprint_omits_rows` if the fingerprint must be known before the rows are computed.
    """

    address: Address
    fingerprint_omits_rows: ClassVar[bool] = False

    @property
    def side_partitions(self) -> Mapping[str, str]:
        """Partitions that are published together with this one, by table, even if empty."""
        return {}

    @abstractmethod
    def compute(self, expected: Expected) -> OutputRows:
        """Return the rows, made from the expected inputs."""

    @property
    def lock(self) -> FileLock:
        return self.run.home.partition_lock(*self.address)

    def stored(self) -> Mapping[str, str] | None:
        return self.run.warehouse.partition_metadata(*self.address)

    def make(self, expected: Expected) -> str:
        made = self.compute(expected)
        publish(self.run, self.partitions(expected, made))
        return made.state

    def partitions(self, expected: Expected, made: OutputRows) -> "PartitionRows":
        """Return what to publish; raise InputChangedError if an input was replaced meanwhile."""
        own_table, shard, own_name = self.address
        expected.check_unchanged(self.expected())
        fingerprint = made.actual_fingerprint or expected.fingerprint
        if not self.fingerprint_omits_rows:
            # The same inputs can give other rows, since tools and devices may answer differently.
            # The digest of the rows then makes everything downstream stale.
            rows = conform(table_schema(own_table), made.rows).drop(*_VOLATILE, strict=False)
            fingerprint = fingerprint.with_parts({ROWS: hex_digest(*rows.iter_rows())})
        # Side tables get the same fingerprint, which shows that they belong to these rows.
        shared_metadata = {**expected.metadata(), **fingerprint.metadata()}
        parts = {
            (table, name): (made.side_tables[table], {shard: shared_metadata})
            for table, name in self.side_partitions.items()
        }
        parts[own_table, own_name] = made.rows, {shard: {**shared_metadata, **made.metadata}}
        return parts


def data_version_of(warehouse: Warehouse, table: str, shard: str, begin: str = "") -> str:
    """Return a digest of the fingerprints of the partitions whose names begin with `begin`."""
    names = [info.name for info in warehouse.partitions(table, shard)]
    matching = [name for name in names if f"{name}.".startswith(begin)]
    stored = {name: warehouse.partition_metadata(table, shard, name) for name in matching}
    return Fingerprint.of(
        {name: metadata and metadata.get(FINGERPRINT) for name, metadata in stored.items()}
    ).digest


PartitionRows = Mapping[tuple[str, str], tuple[pl.DataFrame, Mapping[str, Mapping[str, str]]]]
"""Rows by table and partition name, each with the metadata of its shards."""


def merge_shards(parts: Iterable[PartitionRows]) -> PartitionRows:
    frames: dict[tuple[str, str], list[pl.DataFrame]] = {}
    of_shards: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for made in parts:
        for key, (rows, metadata) in made.items():
            frames.setdefault(key, []).append(rows)
            of_shards.setdefault(key, {}).update(metadata)
    return {key: (pl.concat(frames[key]), of_shards[key]) for key in frames}


def publish(run: Workspace, made: PartitionRows) -> None:
    """Store partitions, or raise ShardNotFoundError if a shard was retired while they were made.

    Rows of a retired shard would count, and would override the rows that are restored with it.
    """
    if shards := {shard for _, of_shards in made.values() for shard in of_shards} - {ALL}:
        manifest = Manifest.load(run.home.sources)
        for shard in shards:
            manifest.entry(shard)
    store_partitions(run.warehouse, made)


def store_partitions(warehouse: Warehouse, made: PartitionRows) -> None:
    made_at = {"made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    with_time = {
        key: (rows, {shard: {**metadata, **made_at} for shard, metadata in of_shards.items()})
        for key, (rows, of_shards) in made.items()
    }
    warehouse.replace_partitions(with_time)
