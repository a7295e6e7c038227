"""Ingests one file in a process of bounded memory: `python -m tests.faults.read_bomb FILE HOME`.

Prints JSON: the texts, the reasons of what was rejected, and how far memory grew.
"""

import json
import resource
import sys
from pathlib import Path

# What is imported on the way; its memory is not the file's.
import mwparserfromhell  # noqa: F401
import pyarrow.parquet  # noqa: F401
import zstandard  # noqa: F401

from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import StoredTexts, update_manifest
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source
from tools.translation.identification import guess_language

MEMORY = 1 << 30


def main() -> None:
    """Read as `toolformer ingest` does."""
    file, home = map(Path, sys.argv[1:])
    guess_language("The memory of the language model is not the file's either.")
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
    result = {"texts": texts, "reasons": reasons, "errors": errors, "megabytes": grown >> 10}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
