"""The list of all shards ever cut, and how a change of the sources changes it.

Does not parse texts or know Dagster: a shard's key is a name here, and a partition above.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from toolformer.ground.whole_files import write_whole
from toolformer.sources.errors import DamagedRawSliceError, ShardNotFoundError
from toolformer.sources.records import ParsedDocument, Rejection, parse_record
from toolformer.sources.slices import SLICE_SUFFIX, read_slice, write_error

ShardStatus = Literal["active", "retired"]

_MANIFEST_VERSION = 1
_KEY_PREFIX = "shard-"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard.

    Attributes:
        key: `shard-00000`; never given to another shard, not even after retirement.
        source: normalised path of the source it was cut from.
        first_record: number of its first raw record within the source, from 0.
        records: how many raw records it holds.
        digest: of the raw slice, uncompressed, with the layout.
        is_held_out: whether it is kept from training; settled when it is registered.
        status: `retired` once its source has changed or is gone.
    """

    key: str
    source: str
    first_record: int
    records: int
    digest: str
    is_held_out: bool
    status: ShardStatus = "active"


@dataclass(slots=True)
class Manifest:
    """Shards and sources as they are registered.

    Attributes:
        next_number: number of the next new shard.
        identities: for each source, by normalised path, the digest of what it was cut from.
        shards: all shards in the order of their keys, retired ones too.
    """

    next_number: int = 0
    identities: dict[str, str] = field(default_factory=dict)
    shards: list[ShardEntry] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Reads the manifest; an empty one where nothing was ever registered.

        Args:
            folder: `$TOOLFORMER_HOME/sources`.

        Raises:
            DamagedRawSliceError: the file is not a manifest.
        """
        path = manifest_path(folder)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != _MANIFEST_VERSION:
                raise ValueError(f"version {content['version']!r}")
            return cls(
                next_number=int(content["next_number"]),
                identities=dict(content["identities"]),
                shards=[ShardEntry(**entry) for entry in content["shards"]],
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, LookupError, TypeError) as error:
            raise DamagedRawSliceError(
                f"The manifest {str(path)!r} cannot be understood: {error}. Expected the file that "
                f"ingesting wrote, version {_MANIFEST_VERSION}. Restore it from a copy; if there "
                "is none, move the whole folder aside and ingest again."
            ) from error

    def save(self, folder: Path) -> None:
        """Writes the manifest as a whole.

        Raises:
            SliceWriteError: it cannot be written; the old one is as it was.
        """
        content = {"version": _MANIFEST_VERSION, **asdict(self)}
        path = manifest_path(folder)
        try:
            write_whole(path, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise write_error(path, error) from error

    @property
    def active_shards(self) -> list[ShardEntry]:
        """The shards whose documents count."""
        return [entry for entry in self.shards if entry.status == "active"]

    def entry(self, key: str) -> ShardEntry:
        """The active shard with this key.

        Raises:
            ShardNotFoundError: it was never registered, or is retired.
        """
        for entry in self.shards:
            if entry.key == key:
                if entry.status == "active":
                    return entry
                raise ShardNotFoundError(
                    f"The shard {key!r} is retired: its source {entry.source!r} has changed or is "
                    "gone. Expected an active shard. Use the shards that replaced it, or ingest "
                    "the source again."
                )
        active = self.active_shards
        known = f"{active[0].key} to {active[-1].key}" if active else "none yet"
        raise ShardNotFoundError(
            f"There is no shard {key!r}. Expected a registered one: {known}. Ingest a source first "
            "or correct the key."
        )


def shard_key(number: int) -> str:
    """The key of a shard.

    Example:
        >>> shard_key(7)
        'shard-00007'
    """
    return f"{_KEY_PREFIX}{number:05d}"


def manifest_path(folder: Path) -> Path:
    """Where the manifest lies in the folder of the sources."""
    return folder / "manifest.json"


def slice_path(folder: Path, key: str) -> Path:
    """Where the raw slice of an active shard lies."""
    return folder / "slices" / f"{key}{SLICE_SUFFIX}"


def retired_slice_path(folder: Path, key: str) -> Path:
    """Where the raw slice of a retired shard lies; it may be the last copy of its texts."""
    return folder / "retired" / f"{key}{SLICE_SUFFIX}"


def read_shard(folder: Path, entry: ShardEntry) -> Iterator[ParsedDocument | Rejection]:
    """Parses the raw slice of a shard.

    Args:
        folder: `$TOOLFORMER_HOME/sources`.
        entry: the shard.

    Yields:
        Documents and rejections in the order of the source.

    Raises:
        ShardNotFoundError: the slice is missing.
        DamagedRawSliceError: the slice is truncated or altered; raised after what comes before.
    """
    for record, layout in read_slice(slice_path(folder, entry.key), entry.digest):
        yield from parse_record(record, layout)
