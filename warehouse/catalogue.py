"""Reads and writes the catalogue of a shard.

    {"sha256":"…","shard":"shard-00000","partitions":[{"table":"documents","name":"all",…},…]}

A catalogue is a JSON document that lists the published partitions of one shard. A partition exists
if and only if the catalogue names it. `publishing.py` writes a new document next to the old one and
renames it, so readers see either all partitions of a publication or none. The checksum covers
everything after itself.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from warehouse.errors import DamagedPartitionError
from warehouse.layout import (
    CATALOGUE_FOLDER,
    EMPTY_SHARD,
    RETIRED,
    catalogue_file,
    file_path,
    names_in,
)
from warehouse.schema import ALL, table_schema

Key = tuple[str, str]
"""Table and name of a partition."""

CHECKSUM_START = b'{"sha256":"'
DIGEST_END = len(CHECKSUM_START) + 64

BODY_START = DIGEST_END + len(b'",')

# Catalogues are cached, because a stage reads the same one several times.
_MAX_CACHED = 64
_MAX_SUPERSEDED = 3


# `gc=False`: a large home has hundreds of thousands of entries, which the collector need not track.
class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A published partition.

    Attributes:
        version: Random name of the publication, shared by all partitions that it published.
        size: Bytes of the Parquet file; 0 if the partition has no rows and thus no file.
        metadata: JSON object of strings, such as the fingerprint.
        counts: JSON object that maps names in `counts/` to lists of result rows.
        counted_by: `counts_version` of the SQL that took the counts.
        superseded: Versions that this one replaced, newest first. Queries may still read them.
    """

    table: str
    name: str
    version: str
    rows: int
    size: int = 0
    sha256: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    counts: msgspec.Raw = msgspec.Raw(b"{}")
    counted_by: str = ""
    superseded: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, str]:
        return msgspec.json.decode(self.metadata, type=dict[str, str])

    def path(self, shard: str) -> str | None:
        """Return the file's path relative to the warehouse; None without rows."""
        return file_path(self.table, shard, self.name, self.version) if self.rows else None

    def superseded_paths(self, shard: str) -> list[str]:
        return [file_path(self.table, shard, self.name, version) for version in self.superseded]

    def following(self, old: "Entry | None") -> "Entry":
        if old is None:
            return self
        own = (old.version,) if old.rows else ()
        superseded = (*own, *old.superseded)[:_MAX_SUPERSEDED]
        return msgspec.structs.replace(self, superseded=superseded)


class _Document(msgspec.Struct):
    shard: str
    partitions: list[Entry]


_decoder = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Published partitions of a shard; shard `all` has the tables that are not cut by shard."""

    shard: str
    partitions: Mapping[Key, Entry] = field(default_factory=dict)

    def entries(self, table_names: Collection[str] | None = None) -> Iterator[Entry]:
        for key in sorted(self.partitions):
            if table_names is None or key[0] in table_names:
                yield self.partitions[key]

    def published_with(self, entry: Entry) -> list[Entry]:
        return [each for each in self.partitions.values() if each.version == entry.version]

    def with_entries(self, entries: Iterable[Entry]) -> "Catalogue":
        partitions = dict(self.partitions)
        for entry in entries:
            key = entry.table, entry.name
            partitions[key] = entry.following(partitions.get(key))
        return Catalogue(self.shard, partitions)

    def content(self) -> bytes:
        document = msgspec.json.encode(_Document(self.shard, list(self.entries())))
        body = document[1:]
        checksum = hashlib.sha256(body).hexdigest().encode()
        return b"".join((CHECKSUM_START, checksum, b'",', body))


def parsed(content: bytes, shard: str) -> Catalogue:
    body = content[BODY_START:]
    checksum = hashlib.sha256(body).hexdigest().encode()
    try:
        if content[:BODY_START] != CHECKSUM_START + checksum + b'",':
            raise ValueError("the checksum differs")
        document = _decoder.decode(b"{" + body)
        if document.shard != shard:
            raise ValueError(f"it is the catalogue of {document.shard}")
    except (ValueError, msgspec.MsgspecError) as error:
        raise _damaged(shard, error) from error
    return Catalogue(shard, {(each.table, each.name): each for each in document.partitions})


def _damaged(shard: str, error: Exception) -> DamagedPartitionError:
    return DamagedPartitionError(
        f"The catalogue of shard '{shard}' is damaged: {error}. Expected "
        f"'{CATALOGUE_FOLDER}/{shard}.json' in the warehouse as it was written. Restore it from a "
        "backup, or run `toolformer build`, which makes the partitions of this shard again."
    )


def read_catalogue(folder: Path, shard: str) -> Catalogue:
    """Return the catalogue of a shard, or an empty one if there is none; see `read_file`."""
    return read_file(catalogue_file(folder, shard), shard) or Catalogue(shard)


def read_file(path: str, shard: str) -> Catalogue | None:
    """Return the catalogue in a file, None if there is no file; raise DamagedPartitionError."""
    try:
        # Opened even if it is cached: NFS guarantees a file's newest state only after opening.
        with os.fdopen(os.open(path, os.O_RDONLY), "rb") as stream:
            key = _cache_key(path, os.fstat(stream.fileno()))
            found = _cache.get(key) or parsed(stream.read(), shard)
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[key] = found
        return found
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(shard, error) from error


def remember(path: Path, catalogue: Catalogue) -> None:
    """Cache a catalogue that this process has just written, so that it is not parsed again."""
    _cache[_cache_key(str(path), path.stat())] = catalogue


def _cache_key(path: str, status: os.stat_result) -> tuple[str, int, int, int]:
    return path, status.st_ino, status.st_size, status.st_mtime_ns


_cache: dict[tuple[str, int, int, int], Catalogue] = {}


def shards_in(folder: Path) -> list[str]:
    """Return the sorted keys of all catalogues, `all` included but no retired shards."""
    return _keys_in(folder / CATALOGUE_FOLDER)


def retired_in(folder: Path) -> set[str]:
    return set(_keys_in(folder / CATALOGUE_FOLDER / RETIRED))


def _keys_in(folder: Path) -> list[str]:
    names = (name.removesuffix(".json") for name in names_in(folder) if name.endswith(".json"))
    return sorted(name for name in names if name != EMPTY_SHARD)


def shards_of(
    folder: Path, table_names: Collection[str], shards: Collection[str] | None = None
) -> list[str]:
    """Return the sorted shards whose catalogues may list these tables, `all` included if needed."""
    cross_shard = [table_schema(name).is_cross_shard for name in table_names]
    if all(cross_shard):
        return [ALL]
    keys = set(shards_in(folder) if shards is None else shards) - {ALL}
    return sorted(keys | {ALL} if any(cross_shard) else keys)
