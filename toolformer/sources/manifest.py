"""The list of all shards ever cut, and how a change of the sources changes it.

Does not parse texts or know Dagster: a shard's key is a name here, and a partition above.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from toolformer.ground.whole_files import write_whole
from toolformer.sources.errors import DamagedRawSliceError, ShardNotFoundError
from toolformer.sources.reasons import Tally
from toolformer.sources.records import (
    ParsedDocument,
    Rejection,
    parse_record,
    rejection_reason,
)
from toolformer.sources.slices import SLICE_SUFFIX, read_slice, write_error

ShardStatus = Literal["active", "retired"]

_MANIFEST_VERSION = 1
_KEY_PREFIX = "shard-"
_SLICE_NAME = re.compile(rf"({_KEY_PREFIX}\d+){re.escape(SLICE_SUFFIX)}")
REBUILD_COMMAND = "toolformer sources rebuild"


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
        status: `retired` once its records have changed or its source was removed; `active` again
            when the same records come back.
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
        reserved: how many of the last keys belong to an update that is under way, and are free
            again if it was interrupted.
    """

    next_number: int = 0
    identities: dict[str, str] = field(default_factory=dict)
    shards: list[ShardEntry] = field(default_factory=list)
    reserved: int = 0

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Reads the manifest; an empty one where nothing was ever registered.

        Args:
            folder: `$TOOLFORMER_HOME/sources`.

        Raises:
            DamagedRawSliceError: the file is not a manifest, or is gone while raw slices are there.
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
                reserved=int(content.get("reserved", 0)),
            )
        except FileNotFoundError as error:
            stored = stored_slices(folder)
            if stored:
                raise DamagedRawSliceError(
                    f"The manifest {str(path)!r} is missing, but {len(stored)} raw slices lie in "
                    f"{str(folder)!r}: {stored[0].name} to {stored[-1].name}. Expected the file "
                    "that ingesting wrote beside them. Put it back from a copy, or run "
                    f"`{REBUILD_COMMAND}` to make it anew from the slices."
                ) from error
            return cls()
        except (ValueError, LookupError, TypeError) as error:
            raise DamagedRawSliceError(
                f"The manifest {str(path)!r} cannot be understood: {error}. Expected the file that "
                f"ingesting wrote, version {_MANIFEST_VERSION}. Put it back from a copy, or run "
                f"`{REBUILD_COMMAND}` to make it anew from the raw slices."
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
                    f"The shard {key!r} is retired: its source {entry.source!r} has changed or was "
                    "removed. Expected an active shard. Use the shards that replaced it, or ingest "
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


def shard_number(key: str) -> int:
    """The number in a key.

    Example:
        >>> shard_number("shard-00007")
        7
    """
    return int(key.removeprefix(_KEY_PREFIX))


def is_held_out(number: int, *, every: int) -> bool:
    """Whether a new shard is kept from training: every n-th is, none where `every` is 0."""
    return every > 0 and number % every == every - 1


def manifest_path(folder: Path) -> Path:
    """Where the manifest lies in the folder of the sources."""
    return folder / "manifest.json"


def slice_path(folder: Path, key: str) -> Path:
    """Where the raw slice of an active shard lies."""
    return folder / "slices" / f"{key}{SLICE_SUFFIX}"


def retired_slice_path(folder: Path, key: str) -> Path:
    """Where the raw slice of a retired shard lies; it may be the last copy of its texts."""
    return folder / "retired" / f"{key}{SLICE_SUFFIX}"


def stored_slices(folder: Path) -> list[Path]:
    """The raw slices that carry a shard's key, retired ones too, by key."""
    folders = (slice_path(folder, "").parent, retired_slice_path(folder, "").parent)
    found = [path for each in folders if each.is_dir() for path in each.iterdir()]
    return sorted(filter(key_of_slice, found), key=lambda path: path.name)


def key_of_slice(path: Path) -> str | None:
    """The key of the shard whose raw slice this is; None where it is none."""
    match = _SLICE_NAME.fullmatch(path.name)
    return match and match[1]


def check_complete(folder: Path, manifest: Manifest) -> None:
    """Refuses a manifest that is older than the raw slices: new shards would take their keys.

    Raises:
        DamagedRawSliceError: a slice has a key that the manifest has not given yet.
    """
    keys = filter(None, map(key_of_slice, stored_slices(folder)))
    unknown = [key for key in keys if shard_number(key) >= manifest.next_number]
    if unknown:
        raise DamagedRawSliceError(
            f"The manifest {str(manifest_path(folder))!r} has given {manifest.next_number} keys, "
            f"but {len(unknown)} raw slices beside it have later ones: {unknown[0]} to "
            f"{unknown[-1]}. Expected a manifest that is as new as they are. Put the newer one "
            f"back, or run `{REBUILD_COMMAND}` to make it anew from the slices."
        )


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


def tally_shard(folder: Path, entry: ShardEntry) -> Tally:
    """Counts the usable records of a shard, and the rejected ones by reason (`rejection_reason`).

    Raises:
        ShardNotFoundError, DamagedRawSliceError: see `read_shard`.
    """
    tally = Tally()
    for record, layout in read_slice(slice_path(folder, entry.key), entry.digest):
        tally.count(rejection_reason(record, layout))
    return tally
