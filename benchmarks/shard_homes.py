"""Creates homes with many small shards, which the project's own code cuts, and random rows.

The rows are stored with the fingerprints of a finished build by the embedded model, so that
`toolformer build` finds nothing to do.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from assets.corpus import configured_sources
from assets.dataset.stages import PIPELINE
from assets.documents import DOCUMENTS, store_texts, stored_texts
from benchmarks.large_warehouse import identifiers, shard_frames
from toolformer.home.fingerprints import PARTS, Fingerprint
from toolformer.home.home import Home
from toolformer.home.wiring.models import Annotator
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.workspace import Workspace, open_warehouse
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import load_settings
from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import update_manifest
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source
from tools.prompting import load_prompt
from tools.registry import create_tool
from warehouse.catalogue import Catalogue, Key, read_catalogue
from warehouse.layout import catalogue_file
from warehouse.partitions import raw
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

TOOLS = ("Calculator", "Calendar")
_TEXTS, CALLS = 8, 8
# Shards per publication, as in a build of small shards.
_SHARDS_PER_BATCH = 64
# The last partition that a shard gets.
_LAST_TABLE = "augmented_texts"


def _write_settings(home: Home, shard_size: int) -> None:
    sources = [
        {"path": file.name, "shard_size": shard_size}
        for file in sorted(home.root.glob("texts*.jsonl"))
    ]
    others = {name: {"is_enabled": False} for name in ("QA", "WikiSearch", "MT")}
    corpus = {"held_out_every": 0, "sources": sources}
    settings = {"preset": "laptop", "corpus": corpus, "tools": others}
    home.settings_file.write_text(json.dumps(settings), encoding="utf-8")


def _toolbox() -> Toolbox:
    return Toolbox(
        {name: create_tool(name, {}) for name in TOOLS},
        {name: load_prompt(name, None) for name in TOOLS},
        {},
    )


def sources_of(home: Home) -> list[Source]:
    return configured_sources(load_settings(home.settings_file), home)


@cache
def described(root: Path) -> tuple[Settings, Toolbox, str]:
    """Return settings, tools and model: the inputs of fingerprints other than texts."""
    home = Home(root)
    settings = load_settings(home.settings_file)
    return settings, _toolbox(), Annotator.of(Workspace(settings, home)).identity


def warehouse_of(home: Home) -> Warehouse:
    """Return the home's warehouse without preparing it for queries."""
    return Warehouse(home.warehouse, home.database)


def grow(home: Home, shards: int, calls: int = CALLS) -> None:
    """Add shards until the home has this many, with `calls` candidate calls per tool and shard."""
    known = len(Manifest.load(home.sources).shards)
    if known < shards:
        lines = (
            json.dumps({"text": f"Text {number} is one of many. " * 20})
            for number in range(known * _TEXTS, shards * _TEXTS)
        )
        home.root.mkdir(parents=True, exist_ok=True)
        file = home.root / f"texts-{shards:07d}.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        _write_settings(home, _TEXTS)
        _cut(home)
    warehouse = open_warehouse(home)
    unbuilt = [
        entry
        for entry in Manifest.load(home.sources).active_shards
        if warehouse.partition_metadata(_LAST_TABLE, entry.key, ALL) is None
    ]
    # Converts the embedded model once, before all processes need it.
    Annotator.of(Workspace(load_settings(home.settings_file), home))
    size = _SHARDS_PER_BATCH
    batches = [unbuilt[start : start + size] for start in range(0, len(unbuilt), size)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for key in pool.map(_build, repeat(home), batches, repeat(calls)):
            print(f"{key} of {shards}", file=sys.stderr)


def _cut(home: Home) -> None:
    """Cut the sources in the same way as the asset `corpus_manifest`."""
    warehouse = open_warehouse(home)

    def store(cut: list[tuple[ShardEntry, CutShard]]) -> None:
        for _ in store_texts(warehouse, cut, run_id="benchmark"):
            pass

    update_manifest(
        home.sources,
        sources_of(home),
        held_out_every=0,
        stored=stored_texts(warehouse),
        store=store,
    )


def ingest(home: Home, texts: int) -> float:
    """Cut this many texts into one shard each, and return the seconds."""
    home.root.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps({"text": f"Text {number} is one of many. " * 20}) for number in range(texts)
    )
    file = home.root / "texts.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    _write_settings(home, 1)
    began = time.perf_counter()
    _cut(home)
    return time.perf_counter() - began


def fill_catalogues(home: Home) -> None:
    """Publish every partition of a finished build, with the files and counts of one shard."""
    entries = Manifest.load(home.sources).active_shards
    first = entries[0]
    _build(home, [first], CALLS)
    drawn = list(read_catalogue(home.warehouse, first.key).entries())
    for entry in entries[1:]:
        made = _fingerprints(home, entry)
        partitions = dict(read_catalogue(home.warehouse, entry.key).partitions)
        for each in drawn:
            if each.table == DOCUMENTS:
                continue
            digest = made.get((each.table, each.name.partition(".")[0]))
            counts = bytes(each.counts).replace(first.key.encode(), entry.key.encode())
            partitions[each.table, each.name] = msgspec.structs.replace(
                each,
                metadata=raw({} if digest is None else digest.metadata()),
                counts=msgspec.Raw(counts),
            )
            if (below := each.path(entry.key)) and (source := each.path(first.key)):
                file = home.warehouse / below
                file.parent.mkdir(parents=True, exist_ok=True)
                file.hardlink_to(home.warehouse / source)
        file = Path(catalogue_file(home.warehouse, entry.key))
        file.write_bytes(Catalogue(entry.key, partitions).content())


def _build(home: Home, entries: Sequence[ShardEntry], calls: int) -> str:
    frames: dict[Key, list[pl.DataFrame]] = {}
    metadata: dict[Key, dict[str, Mapping[str, str]]] = {}
    for entry in entries:
        for table, name, frame, facts in _partitions(home, entry, calls):
            frames.setdefault((table, name), []).append(frame)
            metadata.setdefault((table, name), {})[entry.key] = facts
    for key, of_shards in frames.items():
        made = pl.concat(of_shards, how="diagonal"), metadata[key]
        warehouse_of(home).replace_partitions({key: made})
    return entries[-1].key


def _partitions(
    home: Home, entry: ShardEntry, calls: int
) -> Iterator[tuple[str, str, pl.DataFrame, Mapping[str, str]]]:
    generator = np.random.default_rng(int(entry.digest[:8], 16))
    made = _fingerprints(home, entry)
    frames = shard_frames(generator, entry.key, identifiers(generator, _TEXTS), calls, TOOLS)
    for table, name, frame in frames:
        digest = made.get((table, name))
        yield table, name, frame, {} if digest is None else digest.metadata()


def _fingerprints(home: Home, entry: ShardEntry) -> dict[tuple[str, str], Fingerprint]:
    settings, toolbox, model = described(home.root)
    texts = warehouse_of(home).partition_metadata(DOCUMENTS, entry.key, ALL) or {}
    made = {(DOCUMENTS, ALL): Fingerprint(json.loads(texts[PARTS]))}
    for stage in PIPELINE:
        for partition in stage.partitions(settings, entry, toolbox, model):
            digests = {address: each.digest for address, each in made.items()}
            made[stage.name, partition.tool_name] = PIPELINE.fingerprint(stage, partition, digests)
    return made
