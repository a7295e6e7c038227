"""The manifest: lists every shard ever cut. Shard keys are partition keys in Dagster."""

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
_REMEDY = "Restore it from a backup, or start again in another folder (TOOLFORMER_HOME)."


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard of the corpus.

    Attributes:
        key: for example `shard-00000`; never reused, even after the shard was retired.
        source: normalised path of the source.
        is_held_out: whether the shard is excluded from training; decided at registration.
        status: `retired` if the records changed or the source was removed; `active` again if the
            same records reappear.
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
        return int(self.key.removeprefix(_KEY_PREFIX))


@dataclass(slots=True)
class Manifest:
    """Active and retired shards in the order of their keys, and the sources they were cut from.

    `identities` maps a source's normalised path to a digest of everything the source was cut from.
    A source has an identity once the texts of all its shards are stored. `version` is that of the
    file format.
    """

    next_number: int = 0
    identities: dict[str, str] = field(default_factory=dict)
    shards: list[ShardEntry] = field(default_factory=list)
    version: Literal[1] = 1

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the manifest (empty if there is no file); raise a ManifestError if it is invalid."""
        path = manifest_path(folder)
        try:
            status = path.stat()
            manifest = _read(path, status.st_ino, status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise ManifestError(
                f"The manifest {str(path)!r} is invalid: {error}. Expected the file that "
                f"`toolformer ingest` wrote. {_REMEDY}"
            ) from error
        # Copy the lists, since the caller may change them but `_read` caches the manifest.
        identities, shards = dict(manifest.identities), list(manifest.shards)
        return replace(manifest, identities=identities, shards=shards)

    def save(self, folder: Path) -> None:
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
        """Yield (unused key, whether the shard is held out: every n-th; with 0, no shard)."""
        taken = {*stored_keys, *(entry.key for entry in self.shards)}
        while True:
            number = self.next_number
            self.next_number += 1
            if shard_key(number) not in taken:
                is_held_out = held_out_every > 0 and (number + 1) % held_out_every == 0
                yield shard_key(number), is_held_out

    @property
    def active_shards(self) -> list[ShardEntry]:
        return [entry for entry in self.shards if entry.status == "active"]

    @property
    def stored_sources(self) -> set[str]:
        """Sources that have active shards."""
        return {entry.source for entry in self.active_shards}

    @property
    def annotated_shards(self) -> list[ShardEntry]:
        """Active shards that are not held out. They are annotated and used for training."""
        return [entry for entry in self.active_shards if not entry.is_held_out]

    def entry(self, key: str) -> ShardEntry:
        """Return the active shard with a key; raise a `ShardNotFoundError` if there is none."""
        for entry in self.shards:
            if entry.key == key:
                if entry.status == "active":
                    return entry
                raise ShardNotFoundError(
                    f"The shard {key!r} is retired, since its source {entry.source!r} was changed "
                    "or removed. Expected an active shard. Use a shard that replaced it, or ingest "
                    "the source again."
                )
        active = self.active_shards
        known = f"{active[0].key} to {active[-1].key}" if active else "none yet"
        raise ShardNotFoundError(
            f"There is no shard {key!r}. Expected a registered shard: {known}. Correct the key, or "
            "ingest a source first."
        )


def shard_key(number: int) -> str:
    return f"{_KEY_PREFIX}{number:05d}"


@lru_cache(maxsize=1)
def _read(path: Path, *_state: int) -> Manifest:
    """Read a manifest; cached, because it is needed before each partition is stored."""
    return read_dataclass(path, Manifest)


def manifest_path(folder: Path) -> Path:
    return folder / "manifest.json"


def check_complete(folder: Path, manifest: Manifest, stored_keys: Iterable[str]) -> None:
    """Raise a ManifestError if texts are stored under keys that the manifest does not have.

    The manifest is then an outdated copy, and new shards would reuse these keys.
    """
    known = {entry.key for entry in manifest.shards}
    unknown = sorted(key for key in {*stored_keys} - known if key.startswith(_KEY_PREFIX))
    if unknown:
        path = manifest_path(folder)
        state = f"lists {len(known)} shards" if path.exists() else "is missing"
        raise ManifestError(
            f"The manifest {str(path)!r} {state}, but texts of {len(unknown)} other shards are "
            f"stored: {unknown[0]} to {unknown[-1]}. Expected the manifest that registered them, "
            f"since new shards would take their keys. {_REMEDY}"
        )
