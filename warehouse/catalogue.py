"""Reads and writes the catalogue of a shard.

    {"sha256":"…","shard":"shard-00000","partitions":[{"table":"documents","name":"all",…},…]}

A catalogue is a JSON document that lists the published partitions of one shard. A partition exists
if and only if the catalogue names it. `publishing.py` writes a new document beside the old one and
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
"""Offset of the first byte after the checksum; the bytes from the comma on are covered by it."""
BODY_START = DIGEST_END + len(b'",')

# A stage asks several times for the partitions of one shard.
_REMEMBERED = 64
_MAX_SUPERSEDED = 3


# Not tracked by the garbage collector: there are hundreds of thousands in a large home.
class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A published partition.

    Attributes:
        version: Random name of the publication, shared by all partitions that it published.
        size: Bytes of the Parquet file; 0 without rows, since there is no file then.
        sha256: Of the Parquet file, in hexadecimal.
        metadata: JSON object of strings, such as the fingerprint.
        counts: JSON object: rows by the names of `counts/`.
        counted_by: Digest of the SQL that took the counts.
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
        """The metadata as a dictionary."""
        return msgspec.json.decode(self.metadata, type=dict[str, str])

    def path(self, shard: str) -> str | None:
        """Return the path of the Parquet file below the warehouse; None without rows."""
        return file_path(self.table, shard, self.name, self.version) if self.rows else None

    def superseded_paths(self, shard: str) -> list[str]:
        """Return the paths of the superseded files below the warehouse, newest first."""
        return [file_path(self.table, shard, self.name, version) for version in self.superseded]

    def following(self, old: "Entry | None") -> "Entry":
        """Return the same entry with the versions that it replaces."""
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
    """The published partitions of a shard; `all` has the tables that belong to no shard."""

    shard: str
    partitions: Mapping[Key, Entry] = field(default_factory=dict)

    def entries(self, table_names: Collection[str] | None = None) -> Iterator[Entry]:
        """Yield the partitions of these tables, by default of all, by table and name."""
        for key in sorted(self.partitions):
            if table_names is None or key[0] in table_names:
                yield self.partitions[key]

    def published_with(self, entry: Entry) -> list[Entry]:
        """Return the partitions of the same publication, including this one."""
        return [each for each in self.partitions.values() if each.version == entry.version]

    def with_entries(self, entries: Iterable[Entry]) -> "Catalogue":
        """Return the next version, in which these partitions replace those of the same keys."""
        partitions = dict(self.partitions)
        for entry in entries:
            key = entry.table, entry.name
            partitions[key] = entry.following(partitions.get(key))
        return Catalogue(self.shard, partitions)

    def content(self) -> bytes:
        """Return the bytes of the file."""
        document = msgspec.json.encode(_Document(self.shard, list(self.entries())))
        body = document[1:]
        checksum = hashlib.sha256(body).hexdigest().encode()
        return b"".join((CHECKSUM_START, checksum, b'",', body))


def parsed(content: bytes, shard: str) -> Catalogue:
    """Return the catalogue of a shard from the bytes of its file.

    Raises:
        DamagedPartitionError: They are not the bytes that were written.
    """
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
        f"'{CATALOGUE_FOLDER}/{shard}.json' in the warehouse as it was written. Restore a copy of "
        "it, or run `toolformer build`, which makes the partitions of this shard again."
    )


def read_catalogue(folder: Path, shard: str) -> Catalogue:
    """Return the catalogue of a shard of the corpus, an empty one if there is none.

    Raises:
        DamagedPartitionError: The file is not as it was written.
    """
    return read_file(catalogue_file(folder, shard), shard) or Catalogue(shard)


def read_file(path: str, shard: str) -> Catalogue | None:
    """Return the catalogue in a file, None if there is none.

    The file is opened even if it is known: NFS reports the newest state only to whoever opens it.

    Raises:
        DamagedPartitionError: The file is not as it was written.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY), "rb") as stream:
            key = _state(path, os.fstat(stream.fileno()))
            found = _known.get(key) or parsed(stream.read(), shard)
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[key] = found
        return found
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(shard, error) from error


def remember(path: Path, catalogue: Catalogue) -> None:
    """Spare this process from parsing a catalogue that it has just written."""
    _known[_state(str(path), path.stat())] = catalogue


def _state(path: str, status: os.stat_result) -> tuple[str, int, int, int]:
    return path, status.st_ino, status.st_size, status.st_mtime_ns


_known: dict[tuple[str, int, int, int], Catalogue] = {}


def shards_in(folder: Path) -> list[str]:
    """Return the keys of all catalogues of the corpus, sorted."""
    return _keys_in(folder / CATALOGUE_FOLDER)


def retired_in(folder: Path) -> set[str]:
    """Return the keys of the shards that were taken out of the corpus."""
    return set(_keys_in(folder / CATALOGUE_FOLDER / RETIRED))


def _keys_in(folder: Path) -> list[str]:
    names = (name.removesuffix(".json") for name in names_in(folder) if name.endswith(".json"))
    return sorted(name for name in names if name != EMPTY_SHARD)


def shards_of(
    folder: Path, table_names: Collection[str], shards: Collection[str] | None = None
) -> list[str]:
    """Return the keys of the catalogues that may have partitions of these tables.

    Args:
        shards: Only these of the tables that are cut by shard; by default all there are.
    """
    cross_shard = [table_schema(name).is_cross_shard for name in table_names]
    if all(cross_shard):
        return [ALL]
    keys = set(shards_in(folder) if shards is None else shards) - {ALL}
    return sorted(keys | {ALL} if any(cross_shard) else keys)
