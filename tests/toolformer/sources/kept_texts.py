"""Where tests of the sources store texts: one file for each shard, beside the sources."""

import pickle
from collections.abc import Sequence
from pathlib import Path

from toolformer.sources.cutting import CutShard, Progress
from toolformer.sources.ingestion import ManifestUpdate, StoredTexts, update_manifest
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import Source


def text_file(folder: Path, key: str) -> Path:
    """The file of a shard's texts, given the folder of the sources."""
    return folder.parent / f"texts-of-{folder.name}" / key


def stored_keys(folder: Path) -> set[str]:
    """The shards whose texts are stored."""
    place = text_file(folder, "none").parent
    return {path.name for path in place.iterdir()} if place.exists() else set()


def stored_texts(folder: Path, *, version: str = "1") -> StoredTexts:
    """As `update_manifest` asks for it."""
    return StoredTexts(version, stored_keys(folder))


def texts_of(folder: Path, entry: ShardEntry) -> list[ParsedDocument | Rejection]:
    """What is stored of a shard."""
    return pickle.loads(text_file(folder, entry.key).read_bytes())


def update(
    folder: Path,
    *sources: Source,
    held_out_every: int = 4,
    version: str = "1",
    progress: Progress | None = None,
    store_fails_at: str | None = None,
) -> ManifestUpdate:
    """Update the manifest, and store the texts of shards that have none.

    Args:
        folder: of the sources.
        sources: all of them.
        held_out_every, progress: see `update_manifest`.
        version: of the texts.
        store_fails_at: key of the shard at which storing is killed.
    """

    def store(cut: Sequence[tuple[ShardEntry, CutShard]]) -> None:
        for entry, shard in cut:
            if entry.key == store_fails_at:
                raise KeyboardInterrupt
            file = text_file(folder, entry.key)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.write_bytes(pickle.dumps(list(shard.texts())))

    return update_manifest(
        folder,
        sources,
        held_out_every=held_out_every,
        stored=stored_texts(folder, version=version),
        store=store,
        progress=progress,
    )
