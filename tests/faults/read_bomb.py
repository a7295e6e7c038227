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

from toolformer.sources.ingestion import update_manifest
from toolformer.sources.manifest import Manifest, read_shard
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import Source
from tools.translation.identification import guess_language

MEMORY = 1 << 30


def main() -> None:
    """Read as `toolformer ingest` and the stage `documents` do."""
    file, home = map(Path, sys.argv[1:])
    guess_language("The memory of the language model is not the file's either.")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    update = update_manifest(home, [Source(str(file), shard_size=1000)], held_out_every=0)
    texts, reasons = 0, []
    for entry in Manifest.load(home).active_shards:
        for parsed in read_shard(home, entry):
            if isinstance(parsed, ParsedDocument):
                texts += 1
                guess_language(parsed.text)
            elif isinstance(parsed, Rejection) and parsed.reason not in reasons:
                reasons.append(parsed.reason)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    errors = [str(rejected.error) for rejected in update.rejected_sources]
    result = {"texts": texts, "reasons": reasons, "errors": errors, "megabytes": grown >> 10}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
