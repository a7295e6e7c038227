"""Ingests one file in a process of bounded memory, which is forked from one with all imports."""

import ctypes
import resource
from pathlib import Path
from typing import NamedTuple

# What is imported on the way; its memory is not the file's.
import pyarrow.parquet  # noqa: F401
import zstandard  # noqa: F401

from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import StoredTexts, update_manifest
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source
from tools.translation.languages import guess_language

MEMORY = 1 << 30
_ARENA_MAX = -8


class Read(NamedTuple):
    """What came of a file: its texts, the reasons of what was rejected, how far memory grew."""

    texts: int
    reasons: list[str]
    errors: list[str]
    megabytes: int


def read_bomb(file: Path, home: Path) -> Read:
    """Read as `toolformer ingest` does. The process cannot have more memory afterwards."""
    guess_language("The memory of the language model is not the file's either.")
    # The limit is of addresses, of which each arena of the allocator takes many.
    ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    texts, reasons = 0, []

    def count(cut: list[tuple[ShardEntry, CutShard]]) -> None:
        nonlocal texts
        for parsed in (parsed for _, shard in cut for parsed in shard.texts()):
            if isinstance(parsed, ParsedDocument):
                texts += 1
                guess_language(parsed.text)
            elif parsed.reason not in reasons:
                reasons.append(parsed.reason)

    update = update_manifest(
        home,
        [Source(str(file), shard_size=1000)],
        held_out_every=0,
        stored=StoredTexts("1"),
        store=count,
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    errors = [str(error) for error in update.rejected_sources.values()]
    return Read(texts, reasons, errors, grown >> 10)
