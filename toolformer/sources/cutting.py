"""Cuts a source into shards: reads each record once, and stages its text in a temporary file.

These shards have no keys yet; `ingestion` assigns them, and removes the staged files once their
texts are in the warehouse.
"""

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from toolformer.markup import Calculation
from toolformer.sources.errors import write_error
from toolformer.sources.files import SourceFile
from toolformer.sources.losses import LossKind
from toolformer.sources.readers import read_records
from toolformer.sources.records import (
    ParsedDocument,
    Record,
    Rejection,
    excerpt_of,
    fields_of,
    parse_record,
)
from toolformer.sources.source import Source

# Part of every digest. Raise it when the representation of records or the cutting changes.
CUTTING_VERSION = 3
# Fields of a source to leave out of the digest: they do not affect how records are parsed, or their
# effect is visible in the records.
_NOT_IN_DIGEST = ("path", "format", "limit", "shard_size")

# Limits memory, since objects can have very many distinct keys, for example one per user.
_MAX_LOSSES, _OTHER_COLUMNS = 10_000, "(others)"
_AS_JSON = json.JSONEncoder(separators=(",", ":"), default=str)

# Called with the name of a source and the number of records cut from it so far.
Progress = Callable[[str, int], None]


class Loss(NamedTuple):
    """Kind of loss in a file; for unread columns, `name` is the name of the column."""

    source: str
    kind: LossKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class CutShard:
    """Records that make up a shard, without a key.

    Attributes:
        path: staged file with the texts of the shard.
        first_record: index of the shard's first record within the source, from 0.
        digest: digest of the records and of the settings for parsing them; 32 hexadecimal digits.
        parsed_digest: digest of the resulting documents and rejections; 32 hexadecimal digits.
    """

    path: Path
    first_record: int
    records: int
    rejected: Mapping[str, int]
    losses: Mapping[Loss, int]
    digest: str
    parsed_digest: str

    def texts(self) -> Iterator[ParsedDocument | Rejection]:
        import zstandard

        with zstandard.open(self.path, "rt", encoding="ascii") as lines:
            for fields in map(json.loads, lines):
                if "reason" in fields:
                    yield Rejection(**fields)
                    continue
                day = fields["published_on"]
                fields["published_on"] = day and datetime.date.fromisoformat(day)
                fields["calculations"] = tuple(map(Calculation._make, fields["calculations"]))
                yield ParsedDocument(**fields)


def cut_source(
    folder: Path, source: Source, files: list[SourceFile], progress: Progress
) -> Iterator[CutShard]:
    """Cut the files of a source, staging the texts of each shard in an existing folder."""
    records = read_records(source, files)
    first_record = 0
    # Take the first record here to see whether another shard follows. `_staged` reads the rest.
    while (record := next(records, None)) is not None:
        shard_records = chain([record], islice(records, source.shard_size - 1))
        shard = _staged(folder / f"{first_record}.jsonl.zst", first_record, source, shard_records)
        yield shard
        first_record += shard.records
        progress(source.name, first_record)


def _staged(path: Path, first_record: int, source: Source, records: Iterable[Record]) -> CutShard:
    import zstandard

    digest, parsed_digest = (hashlib.blake2b(digest_size=16) for _ in range(2))
    digest.update(_line([CUTTING_VERSION, fields_of(source, but=_NOT_IN_DIGEST)]))
    count = 0
    rejected, losses = Counter[str](), Counter[Loss]()
    unread = Counter[tuple[str, tuple[str, ...]]]()
    try:
        with zstandard.open(path, "wb") as file:
            for record in records:
                count += 1
                digest.update(_line([record.source, record.offset, record.reason]))
                digest.update(record.content)
                unread[record.source, record.unread] += 1
                parsed = parse_record(record, source)
                if isinstance(parsed, ParsedDocument):
                    for kind, number in parsed.losses.items():
                        losses[Loss(record.source, kind)] += number
                else:
                    rejected[parsed.reason] += 1
                line = _line(fields_of(parsed, but=("losses",)))
                parsed_digest.update(line)
                file.write(line)
    except OSError as error:
        raise write_error(path, error) from error
    for (name, columns), number in unread.items():
        for column in columns:
            loss = Loss(name, "unread_columns", excerpt_of(column))
            is_named = loss in losses or len(losses) < _MAX_LOSSES
            losses[loss if is_named else loss._replace(name=_OTHER_COLUMNS)] += number
    digests = digest.hexdigest(), parsed_digest.hexdigest()
    return CutShard(path, first_record, count, rejected, losses, *digests)


def _line(content: object) -> bytes:
    """Encode a value as a line of JSON with ISO 8601 dates; ASCII preserves surrogate escapes."""
    return _AS_JSON.encode(content).encode("ascii") + b"\n"
