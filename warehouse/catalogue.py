"""The catalogue of a shard: a small file that says what is published of it, a line a partition.

    {"seal":"…","table":"documents","name":"all","number":7,"file":"all-….parquet","together":3,
     "replaced":{…},"size":…,"rows":…,"metadata":{…},"counts":{…}}
    {"seal":"…","shard":"shard-00000","number":7,"retired":false,"lines":"…"}

Nothing else is published: a file that no catalogue names is no partition, and all that one version
of a catalogue names appeared at once. Each version has a number, one more than that before it. A
seal is the digest of the rest of its line, so that a flipped bit is noticed before a line is used,
and costs one partition alone. The digest of all lines spares whoever reads many of them the seals.
What is said of the whole stands last, so that no file counts whose end is gone; a line that was
taken out by hand is a partition that is not published.
"""

import functools
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from toolformer.base.digests import digest_of_bytes
from warehouse.errors import DamagedPartitionError
from warehouse.schema import tables

Key = tuple[str, str]
"""Table and name of a partition."""

# How long a file stays after another took its place; a query takes no longer.
KEPT_SECONDS = 600.0

_SEAL_BYTES = 8
_METADATA, _COUNTS = b',"metadata":', b',"counts":'
_HEAD = re.compile(rb'\{"seal":"([0-9a-f]{16})"(,.*\})')
_KEY = re.compile(
    rb'\{"seal":"[0-9a-f]{16}","table":"(\w+)","name":"([\w.-]+)","number":(\d+),'
    rb'"file":(?:null|"([\w.-]+)"),'
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A partition as it is published.

    Attributes:
        file: name of its Parquet file; None where it has no rows.
        size: of the file (bytes).
        metadata: facts beside the rows, such as the fingerprint.
        counts: of its rows, by the names of `counts/`: lists of rows.
        replaced: files that it took the place of a while ago, the newest first, with the time
            (seconds since 1970).
        number: version of the catalogue with which it was published.
        together: how many partitions were published with that number, which stand or fall together.
        seal: tells this version from what stood and will stand in its place.
    """

    table: str
    name: str
    file: str | None
    size: int
    rows: int
    metadata: Mapping[str, str]
    counts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    replaced: Mapping[str, float] = field(default_factory=dict)
    number: int = 0
    together: int = 1
    seal: str = ""

    @property
    def key(self) -> Key:
        """What tells it from the others of its shard."""
        return self.table, self.name

    def line(self) -> bytes:
        """Returns its line in a catalogue."""
        return _sealed(
            {
                "table": self.table,
                "name": self.name,
                "number": self.number,
                "file": self.file,
                "together": self.together,
                "replaced": dict(self.replaced),
                "size": self.size,
                "rows": self.rows,
                "metadata": dict(self.metadata),
                "counts": dict(self.counts),
            }
        )


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is published of a shard.

    Attributes:
        shard: its key; `all` has the tables that are not cut by shard.
        number: of this version; 0 where nothing was ever published.
        is_retired: whether the shard was taken out of the corpus, so that none of it counts.
        lines: of the partitions, by table and name.
        is_sound: whether no line can be another than was written, so that seals need no look.
    """

    shard: str
    number: int = 0
    is_retired: bool = False
    lines: Mapping[Key, bytes] = field(default_factory=dict)
    is_sound: bool = True

    def files_published_with(self, entry: Entry) -> list[str] | None:
        """Returns the files, below the warehouse, of a partition and of those published with it.

        None where one of these partitions is not there any more.
        """
        number = b'"number":%d,' % entry.number
        lines = (line for line in self.lines.values() if number in line)
        matches = [match for match in map(_KEY.match, lines) if match and match[3] == number[9:-1]]
        if len(matches) != entry.together:
            return None
        return [
            file_path(match[1].decode(), self.shard, match[4].decode())
            for match in matches
            if match[4]
        ]

    def entry(self, table: str, name: str) -> Entry | None:
        """Returns a partition; None where there is none.

        Raises:
            DamagedPartitionError: Its line is not what was written.
        """
        line = self.lines.get((table, name))
        return None if line is None else _entry_of(line, self.shard, is_sound=self.is_sound)

    def entries(self, table_names: Collection[str] | None = None) -> Iterator[Entry]:
        """Yields the partitions of some tables, or all, by table and name.

        Raises:
            DamagedPartitionError: A line is not what was written.
        """
        for key in sorted(self.lines):
            if table_names is None or key[0] in table_names:
                yield _entry_of(self.lines[key], self.shard, is_sound=self.is_sound)

    def texts(self, table: str, name: str, *, with_metadata: bool) -> tuple[str, str]:
        """Returns the metadata, or none, and the counts of a partition that is there, as JSON.

        Raises:
            DamagedPartitionError: Its line is not what was written.
        """
        line = self.lines[table, name]
        if not self.is_sound:
            _check_seal(line, self.shard)
        rest, _, counts = line[:-1].rpartition(_COUNTS)
        # Most of a catalogue, and statistics need none of it.
        metadata = rest.partition(_METADATA)[2] if with_metadata else b"{}"
        return metadata.decode(), counts.decode()

    def files(self) -> tuple[set[str], dict[str, float]]:
        """Returns the files that it names, and those that they replaced with the time.

        Both below the warehouse.

        Raises:
            DamagedPartitionError: A line is not what was written, so what it names is not known.
        """
        named, replaced = set(), {}
        for entry in self.entries():
            if entry.file is not None:
                named.add(file_path(entry.table, self.shard, entry.file))
            for file, at in entry.replaced.items():
                replaced[file_path(entry.table, self.shard, file)] = at
        return named, replaced

    def files_to_keep(self) -> set[str]:
        """Returns the files that somebody may read: those it names, and those replaced just now.

        Raises: As `files`.
        """
        named, replaced = self.files()
        limit = time.time() - KEPT_SECONDS
        return named.union(path for path, at in replaced.items() if at >= limit)

    def with_entries(self, entries: Sequence[Entry]) -> "Catalogue":
        """Returns the next version, in which these partitions have the place of those before."""
        now = time.time()
        lines = dict(self.lines)
        for entry in entries:
            replaced: dict[str, float] = {}
            with suppress(DamagedPartitionError):
                if old := self.entry(*entry.key):
                    replaced = {} if old.file is None else {old.file: now}
                    replaced |= {
                        file: at
                        for file, at in old.replaced.items()
                        if at >= now - KEPT_SECONDS and file != old.file
                    }
            replaced.pop(str(entry.file), None)
            made = replace(entry, replaced=replaced, number=self.number + 1, together=len(entries))
            lines[entry.key] = made.line()
        return replace(self, number=self.number + 1, lines=lines)

    def content(self) -> bytes:
        """Returns the bytes of its file."""
        lines = [self.lines[key] for key in sorted(self.lines)]
        last = {
            "shard": self.shard,
            "number": self.number,
            "retired": self.is_retired,
            # Never of lines that are not what was written.
            "lines": _digest(b"\n".join(lines)) if self.is_sound else None,
        }
        return b"\n".join([*lines, _sealed(last), b""])


@functools.lru_cache(maxsize=256)
def _entry_of(line: bytes, shard: str, *, is_sound: bool) -> Entry:
    # A stage asks several times for the partitions of a shard.
    return Entry(**(json.loads(line) if is_sound else _opened(line, shard)))


def parsed(content: bytes, shard: str) -> Catalogue:
    """Returns the catalogue of a shard from the bytes of its file.

    Raises:
        DamagedPartitionError: They are not what was written. Of a line of a partition that is told
            only when it is asked for.
    """
    lines, _, last_line = content[:-1].rpartition(b"\n")
    last = _opened(last_line, shard)
    keyed: dict[Key, bytes] = {}
    for line in lines.splitlines():
        match = _KEY.match(line)
        if match is None or match[1].decode() not in tables():
            raise _damaged(shard)
        keyed[match[1].decode(), match[2].decode()] = line
    if last.get("shard") != shard:
        raise _damaged(shard)
    return Catalogue(
        shard, last["number"], last["retired"], keyed, is_sound=last["lines"] == _digest(lines)
    )


def file_path(table: str, shard: str, file: str) -> str:
    """Returns where the file of a partition lies, below the folder of the warehouse."""
    return f"{table}/shard={shard}/{file}"


def _sealed(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    rest = b"," + text[1:]
    return b'{"seal":"' + _digest(rest).encode() + b'"' + rest


def _digest(content: bytes) -> str:
    return digest_of_bytes(content, size=_SEAL_BYTES).hex()


def _opened(line: bytes, shard: str) -> dict[str, Any]:
    _check_seal(line, shard)
    return json.loads(line)


def _check_seal(line: bytes, shard: str) -> None:
    match = _HEAD.fullmatch(line)
    if match is None or _digest(match[2]).encode() != match[1]:
        raise _damaged(shard, line)


def _damaged(shard: str, line: bytes = b"") -> DamagedPartitionError:
    match = _KEY.match(line)
    if match is None:
        return DamagedPartitionError(
            f"The catalogue '{shard}' of the warehouse is not what this project wrote there. Put a "
            f"copy of 'catalogue/{shard}.json' back, or remove that file: then `toolformer build` "
            "makes again what it named."
        )
    table, name = match[1].decode(), match[2].decode()
    return DamagedPartitionError(
        f"Partition '{name}' of table '{table}' and shard '{shard}' cannot be used: its line in "
        f"'catalogue/{shard}.json' is not what this project wrote there. Remove that line, then "
        "run `toolformer build`, which makes the partition again."
    )
