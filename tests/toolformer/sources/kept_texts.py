"""Where tests of the sources store texts: in memory, by the folder of the sources."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from toolformer.sources.cutting import CutShard, Progress
from toolformer.sources.ingestion import ManifestUpdate, StoredTexts, update_manifest
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import Source

# By key of the shard.
TEXTS: defaultdict[Path, dict[str, list[ParsedDocument | Rejection]]] = defaultdict(dict)


def stored_texts(folder: Path, *, version: str = "1") -> StoredTexts:
    """As `update_manifest` asks for it."""
    return StoredTexts(version, set(TEXTS[folder]))


def update(
    folder: Path,
    *sources: Source,
    held_out_every: int = 4,
    version: str = "1",
    progress: Progress = lambda _name, _records: None,
    store_fails_at: str | None = None,
) -> ManifestUpdate:
    """Update the manifest, and store the texts of shards that have none.

    Args:
        store_fails_at: key of the shard at which storing is killed.
    """

    def store(cut: Sequence[tuple[ShardEntry, CutShard]]) -> None:
        for entry, shard in cut:
            if entry.key == store_fails_at:
                raise KeyboardInterrupt
            TEXTS[folder].setdefault(entry.key, list(shard.texts()))

    return update_manifest(
        folder,
        sources,
        held_out_every=held_out_every,
        stored=stored_texts(folder, version=version),
        store=store,
        progress=progress,
    )
