"""Texts in a file, and a corpus that is cut without Dagster, its texts in the warehouse."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from assets.documents import store_texts, stored_texts
from toolformer.home.home import Home
from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import ManifestUpdate, update_manifest
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.source import Source
from warehouse.warehouse import Warehouse


def write_texts(file: Path, texts: Iterable[str]) -> Path:
    """A source with a record for each text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def cut_corpus(home: Home, sources: Sequence[Source], *, held_out_every: int = 0) -> ManifestUpdate:
    """Cut the sources as the asset `corpus_manifest` does, without registering partitions."""
    warehouse = Warehouse(home.warehouse, home.database)

    def store(cut: list[tuple[ShardEntry, CutShard]]) -> None:
        for _ in store_texts(warehouse, cut, run_id="test"):
            pass

    return update_manifest(
        home.sources,
        sources,
        held_out_every=held_out_every,
        stored=stored_texts(warehouse),
        store=store,
    )
