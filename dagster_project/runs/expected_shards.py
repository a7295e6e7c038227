"""The shards that new sources will be cut into, as far as their first records tell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from toolformer.home.settings.sections import Settings
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.readers import read_raw_records
from toolformer.sources.records import ParsedDocument, RawRecord, parse_record
from toolformer.sources.source import Source

# A plan takes moments; a dump may hold millions.
MAX_RECORDS = 2000


@dataclass
class ExpectedShards:
    """What is not cut yet.

    Attributes:
        entries: the shards, with the keys that they will have.
        characters: of their texts, by key.
        longer: paths of sources that hold more records than were read.
    """

    entries: list[ShardEntry] = field(default_factory=list)
    characters: dict[str, int] = field(default_factory=dict)
    longer: list[str] = field(default_factory=list)


def expected_shards(
    sources: Sequence[Source], manifest: Manifest, stored_keys: Iterable[str], settings: Settings
) -> ExpectedShards:
    """Read the first 2,000 records of the sources that have no shards yet.

    A source that cannot be read to its end is left out: cutting it says why.
    """
    expected = ExpectedShards()
    known = {entry.source for entry in manifest.active_shards}
    # Of a copy, which counts on.
    new_keys = replace(manifest).new_keys(stored_keys, settings.corpus.held_out_every)
    for source in sources:
        if source.name in known:
            continue
        try:
            files = list_files(source)
            source = source.with_format(files[0].format)
            records = read_raw_records(source, files)
            lengths = [_characters(record, source) for record in islice(records, MAX_RECORDS)]
            if next(records, None) is not None:
                expected.longer.append(source.path)
        except SourceError:
            continue
        for first in range(0, len(lengths), source.shard_size):
            part = lengths[first : first + source.shard_size]
            key, is_held_out = next(new_keys)
            entry = ShardEntry(key, source.name, first, len(part), "", is_held_out)
            expected.entries.append(entry)
            expected.characters[key] = sum(part)
    return expected


def _characters(record: RawRecord, source: Source) -> int:
    parsed = parse_record(record, source)
    return sum(len(each.text) for each in parsed if isinstance(each, ParsedDocument))
