"""The list of all shards ever cut; the key of a shard is its partition in Dagster."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from toolformer.base.atomic_files import write_atomically
from toolformer.json_files import read_dataclass
from toolformer.sources.errors import ManifestError, ShardNotFoundError, write_error

ShardStatus = Literal["active", "retired"]

_KEY_PREFIX = "shard-"
_REMEDY = "Put it back from a copy, or begin anew in another folder (TOOLFORMER_HOME)."


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard.

    Attributes:
        key: `shard-00000`; never given to another shard, not even after retirement.
        source: normalised path of the source it was cut from.
        first_record, records, digest: see `cutting.CutShard`.
        is_held_out: whether it is kept from training; decided when it is registered.
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

    @property
    def number(self) -> int:
        """The number in the key."""
        return int(self.key.removeprefix(_KEY_PREFIX))


@dataclass(slots=True)
class Manifest:
    """Registered shards and sources.

    Attributes:
        identities: digest of what a source was cut from, by its normalised path; present once the
            texts of all its shards are stored.
        shards: in the order of their keys, retired ones included.
        version: version of the file's format.
    """

    next_number: int = 0
    identities: dict[str, str] = field(default_factory=dict)
    shards: list[ShardEntry] = field(default_factory=list)
    version: Literal[1] = 1

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the manifest; it is empty if nothing was ever registered.

        Raises:
            ManifestError: the file is not a manifest.
        """
        path = manifest_path(folder)
        try:
            status = path.stat()
            manifest = _read(path, status.st_ino, status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise ManifestError(
                f"The manifest {str(path)!r} cannot be understood: {error}. Expected the file that "
                f"ingesting wrote. {_REMEDY}"
            ) from error
        # The cached one is never changed.
        identities, shards = dict(manifest.identities), list(manifest.shards)
        return replace(manifest, identities=identities, shards=shards)

    def save(self, folder: Path) -> None:
        """Write the manifest atomically."""
        path = manifest_path(folder)
        try:
            write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")
        except OSError as error:
            raise write_error(path, error) from error

    def put(self, entries: Iterable[ShardEntry]) -> None:
        """Add shards, or replace those with the same keys."""
        by_key = {entry.key: entry for entry in (*self.shards, *entries)}
        self.shards = list(by_key.values())

    def new_keys(
        self, stored_keys: Iterable[str], held_out_every: int
    ) -> Iterator[tuple[str, bool]]:
        """Yield keys of new shards, and whether each is held out.

        Args:
            stored_keys: keys that are in use, whatever number is next.
            held_out_every: every n-th shard by number is held out; 0 for none.
        """
        taken = {*stored_keys, *(entry.key for entry in self.shards)}
        while True:
            number = self.next_number
            self.next_number += 1
            if shard_key(number) not in taken:
                is_held_out = held_out_every > 0 and (number + 1) % held_out_every == 0
                yield shard_key(number), is_held_out

    @property
    def active_shards(self) -> list[ShardEntry]:
        """The shards whose documents count."""
        return [entry for entry in self.shards if entry.status == "active"]

    @property
    def stored_sources(self) -> set[str]:
        """The sources that have active shards."""
        return {entry.source for entry in self.active_shards}

    @property
    def annotated_shards(self) -> list[ShardEntry]:
        """The active shards that are annotated and trained on: those that are not held out."""
        return [entry for entry in self.active_shards if not entry.is_held_out]

    def entry(self, key: str) -> ShardEntry:
        """Return the active shard with this key, or raise a `ShardNotFoundError`."""
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
    """Return the key of a shard, such as `shard-00007`."""
    return f"{_KEY_PREFIX}{number:05d}"


@lru_cache(maxsize=1)
def _read(path: Path, *_state: int) -> Manifest:
    """Read a manifest; cached, since it is needed before each partition that is stored."""
    return read_dataclass(path, Manifest)


def manifest_path(folder: Path) -> Path:
    """Return the path of the manifest in the folder of the sources."""
    return folder / "manifest.json"


def check_complete(folder: Path, manifest: Manifest, stored_keys: Iterable[str]) -> None:
    """Raise if a manifest is older than the stored texts: new shards would take their keys.

    Raises:
        ManifestError: texts are stored under a key that the manifest does not know.
    """
    known = {entry.key for entry in manifest.shards}
    unknown = sorted(key for key in {*stored_keys} - known if key.startswith(_KEY_PREFIX))
    if unknown:
        path = manifest_path(folder)
        state = f"knows {len(known)} shards" if path.exists() else "is missing"
        raise ManifestError(
            f"The manifest {str(path)!r} {state}, but texts of {len(unknown)} others are stored: "
            f"{unknown[0]} to {unknown[-1]}. Expected the manifest that registered them, since new "
            f"shards would take their keys. {_REMEDY}"
        )
