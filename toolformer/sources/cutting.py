"""Cuts a source into shards: reads each record once, and stages the texts that it gives.

The staged files belong to no shard yet, and are removed once the texts are stored elsewhere.
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

# Part of every digest: raised when the form of a record changes, or how records are cut.
CUTTING_VERSION = 3
# Fields of a source that do not change the texts of its records, or are known by the records.
_NOT_PARSED_BY = ("path", "format", "limit", "shard_size")

# Column names can be data, such as a key per user.
_MOST_LOSSES, _OTHER_COLUMNS = 10_000, "(others)"
_AS_JSON = json.JSONEncoder(separators=(",", ":"), default=str)

# Called with the name of a source and the number of records cut from it so far.
Progress = Callable[[str, int], None]


class Loss(NamedTuple):
    """Something that is counted: its file, its kind, and the name of an unread column."""

    source: str
    kind: LossKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class CutShard:
    """Records that make up a shard, without a key.

    Attributes:
        path: the staged file of its texts.
        first_record: number of its first record within the source, from 0.
        records: number of records.
        rejected: number of rejected records by reason.
        losses: number of losses by file, kind and unread column.
        digest: digest of its records and how they are parsed, 32 hexadecimal digits.
        parsed_digest: digest of the documents and rejections that they give, likewise.
    """

    path: Path
    first_record: int
    records: int
    rejected: Mapping[str, int]
    losses: Mapping[Loss, int]
    digest: str
    parsed_digest: str

    def texts(self) -> Iterator[ParsedDocument | Rejection]:
        """Yield the documents and rejections in the order of the source."""
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
    """Cut the files of a source, staging the texts of each shard in an existing folder.

    Raises:
        SourceError: the source cannot be read.
        CorpusWriteError: the disk is full or the folder not writable.
    """
    records = read_records(source, files)
    first_record = 0
    # A shard is staged as it is read: peek for its first record, count the rest.
    while (record := next(records, None)) is not None:
        shard_records = chain([record], islice(records, source.shard_size - 1))
        shard = _staged(folder / f"{first_record}.jsonl.zst", first_record, source, shard_records)
        yield shard
        first_record += shard.records
        progress(source.name, first_record)


def _staged(path: Path, first_record: int, source: Source, records: Iterable[Record]) -> CutShard:
    import zstandard

    digest, parsed_digest = (hashlib.blake2b(digest_size=16) for _ in range(2))
    digest.update(_line([CUTTING_VERSION, fields_of(source, but=_NOT_PARSED_BY)]))
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
            is_named = loss in losses or len(losses) < _MOST_LOSSES
            losses[loss if is_named else loss._replace(name=_OTHER_COLUMNS)] += number
    digests = digest.hexdigest(), parsed_digest.hexdigest()
    return CutShard(path, first_record, count, rejected, losses, *digests)


def _line(content: object) -> bytes:
    """Return JSON in ASCII, in which surrogate escapes survive; dates become ISO 8601."""
    return _AS_JSON.encode(content).encode("ascii") + b"\n"
