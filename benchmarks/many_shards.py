"""What grows with the number of shards: manifest, tables, views, the plan, Dagster's partitions.

Shards are small (8 texts, 8 candidate calls of each of two tools unless `--calls` says more), so
that what is measured is their number. They are cut from files by the project's own code, and their
partitions, 18 a shard, are drawn (`large_warehouse.py`) and stored with the fingerprints of a
finished build by the embedded model, so `toolformer build` finds nothing to do, and with another
filtering threshold filters and merges. Each step runs in a process of its own. Processor time is
that of all threads, and tells more than seconds where other programs share the cores.

With `--ingest` so many texts become a shard each, as `toolformer ingest` cuts them. Then all that
a build would publish is written into the catalogues, with the files of one shard in the place of
all: only what looks for a call by its id could tell the difference. The plan is made once more over
an object store of this machine, by a machine that has nothing and again by the same, and its
requests are counted.

    python -m benchmarks.many_shards --shards 100 1000 [--calls N] [--work FOLDER] [--json FILE]
    python -m benchmarks.many_shards --ingest 10000 [--work FOLDER] [--json FILE]
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.corpus import configured_sources
from assets.dataset.stages import PIPELINE
from assets.documents import DOCUMENTS, store_texts, stored_texts, texts_fingerprint
from benchmarks.build import run_command
from benchmarks.large_warehouse import identifiers, shard_frames
from benchmarks.machine import machine, peak_memory
from benchmarks.store_requests import count_requests_of
from dagster_project.runs.plan import BuildPlan
from dagster_project.runs.run_job import dagster_instance
from tests.s3 import running_store
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.partitions import register_shards
from toolformer.home.reading import Home as ReadHome
from toolformer.home.settings.sections import Settings
from toolformer.home.settings.settings_file import load_settings
from toolformer.home.wiring.annotator import Annotator
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.warehouse import open_warehouse
from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import stale_sources, update_manifest
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source
from tools.prompting import load_prompt
from tools.registry import create_tool
from warehouse.catalogue import file_path
from warehouse.layout import catalogue_file
from warehouse.needs import STATISTICS_VIEWS
from warehouse.published import read_catalogue, shards_in
from warehouse.schema import ALL
from warehouse.store.files import MirroredFiles
from warehouse.store.mirrored_store import MirroredStore
from warehouse.store.objects import open_store
from warehouse.warehouse import Warehouse

_TOOLS = ("Calculator", "Calendar")
_TEXTS, _CALLS = 8, 8
# Of the partitions of a shard the one that is drawn last.
_LAST_TABLE = "augmented_texts"
_OTHER_THRESHOLD = "tools.Calculator.filtering_threshold=0.61"
# Views with a line for every call are asked for one.
_OF_CALLS = ("call_provenance", "kept_examples")


def _write_settings(home: Home, shard_size: int) -> None:
    sources = [
        {"path": file.name, "shard_size": shard_size} for file in sorted(home.root.glob("*.jsonl"))
    ]
    others = {name: {"is_enabled": False} for name in ("QA", "WikiSearch", "MT")}
    corpus = {"held_out_every": 0, "sources": sources}
    settings = {"preset": "laptop", "corpus": corpus, "tools": others}
    home.settings_file.write_text(json.dumps(settings), encoding="utf-8")


def _settings(home: Home) -> Settings:
    return load_settings(home.settings_file)


def _toolbox() -> Toolbox:
    return Toolbox(
        {name: create_tool(name, {}) for name in _TOOLS},
        {name: load_prompt(name, None) for name in _TOOLS},
        {},
    )


def _sources(home: Home) -> list[Source]:
    return configured_sources(_settings(home))


@cache
def _described(root: Path) -> tuple[Settings, Toolbox, str]:
    """What fingerprints of a home's partitions depend on besides the texts."""
    settings = _settings(Home(root))
    return settings, _toolbox(), Annotator.of(settings, Home(root)).identity


def _warehouse(home: Home) -> Warehouse:
    return Warehouse(home.warehouse, home.database)


# --- a home of so many shards -------------------------------------------------------------------


def grow(home: Home, shards: int, calls: int = _CALLS) -> None:
    """Add shards to a home until it has so many, as ingesting and a build would.

    Args:
        home: to grow.
        shards: that it has then.
        calls: candidate calls of each tool in a new shard.
    """
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
    # Converts the embedded model, once for all processes.
    Annotator.of(_settings(home), home)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for key in pool.map(_build, repeat(home), unbuilt, repeat(calls)):
            print(f"{key} of {shards}", file=sys.stderr)


def _cut(home: Home) -> None:
    """Cut the sources as the asset `corpus_manifest` does."""
    warehouse = open_warehouse(home)

    def store(cut: list[tuple[ShardEntry, CutShard]]) -> None:
        for _ in store_texts(warehouse, cut, run_id="benchmark"):
            pass

    update_manifest(
        home.sources,
        _sources(home),
        held_out_every=0,
        stored=stored_texts(warehouse),
        store=store,
    )


def ingest(home: Home, texts: int) -> float:
    """Seconds in which so many texts become a shard each."""
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
    """Publish what a build of all shards would: with the rows and counts of one shard."""
    entries = Manifest.load(home.sources).active_shards
    first = entries[0]
    _build(home, first, _CALLS)
    drawn = list(read_catalogue(home.warehouse, first.key).entries())
    for entry in entries[1:]:
        made = _fingerprints(home, entry)
        catalogue = read_catalogue(home.warehouse, entry.key)
        for each in drawn:
            digest = made.get((each.table, each.name.partition(".")[0]))
            counts = json.dumps(dict(each.counts)).replace(first.key, entry.key)
            metadata = {} if digest is None else digest.metadata()
            of_shard = replace(each, metadata=metadata, counts=json.loads(counts))
            if each.file and each.table != DOCUMENTS:
                file = home.warehouse / file_path(each.table, entry.key, each.file)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.hardlink_to(home.warehouse / file_path(each.table, first.key, each.file))
            if each.table != DOCUMENTS:
                catalogue = catalogue.with_entries([of_shard])
        catalogue_file(home.warehouse, entry.key).write_bytes(catalogue.content())


def count_requests(home: Home) -> dict[str, Any]:
    """The plan by a machine that has nothing, and again, over the catalogues in a store."""
    import obstore

    figures: dict[str, Any] = {}
    with running_store() as store, tempfile.TemporaryDirectory() as folder:
        os.environ.update(store.environment)
        store.make_bucket("shards")
        objects = open_store("s3://shards/home")
        for shard in shards_in(home.warehouse):
            content = read_catalogue(home.warehouse, shard)
            path = f"catalogue/{shard}/{content.number:08d}.json"
            objects.put_new(path, content.content())
        shutil.copytree(home.sources, Path(folder) / "sources")
        new = Home(Path(folder))
        files = MirroredFiles(objects, new.root, new.root / "copies")
        warehouse = Warehouse(
            new.warehouse, new.database, MirroredStore(objects, new.warehouse, files)
        )
        asked = count_requests_of(obstore.store.S3Store)
        for name in ("plan with nothing copied", "plan again"):
            before, began = sum(asked.values()), time.perf_counter()
            planned = _planned(warehouse, new)
            figures[name] = {
                "seconds": round(time.perf_counter() - began, 2),
                "requests": sum(asked.values()) - before,
                "found": planned,
            }
    return figures


def _build(home: Home, entry: ShardEntry, calls: int) -> str:
    warehouse = _warehouse(home)
    for table, name, frame, metadata in _partitions(home, entry, calls):
        warehouse.replace_partition(table, entry.key, name, frame, metadata=metadata)
    return entry.key


def _partitions(
    home: Home, entry: ShardEntry, calls: int
) -> Iterator[tuple[str, str, pl.DataFrame, Mapping[str, str]]]:
    """Table, name, rows and metadata of each partition of a shard."""
    generator = np.random.default_rng(int(entry.digest[:8], 16))
    made = _fingerprints(home, entry)
    frames = shard_frames(generator, entry.key, identifiers(generator, _TEXTS), calls, _TOOLS)
    for table, name, frame in frames:
        digest = made.get((table, name))
        yield table, name, frame, {} if digest is None else digest.metadata()


def _fingerprints(home: Home, entry: ShardEntry) -> dict[tuple[str, str], Fingerprint]:
    """What a finished build stores with the partitions of a shard."""
    settings, toolbox, model = _described(home.root)
    made = {(DOCUMENTS, ALL): texts_fingerprint(entry)}
    for stage in PIPELINE:
        for partition in stage.partitions(settings, entry, toolbox, model):
            digests = {address: each.digest for address, each in made.items()}
            made[stage.name, partition.tool_name] = PIPELINE.fingerprint(stage, partition, digests)
    return made


# --- the steps ----------------------------------------------------------------------------------


def _list_partitions(home: Home) -> int:
    return len(_warehouse(home).partitions())


def _read_views(home: Home) -> dict[str, float]:
    warehouse, seconds = _warehouse(home), {}
    for name in STATISTICS_VIEWS:
        if name not in _OF_CALLS:
            began = time.perf_counter()
            warehouse.view(name)
            seconds[name] = round(time.perf_counter() - began, 3)
    return seconds


def _plan(home: Home) -> int:
    return _planned(_warehouse(home), home)


def _planned(warehouse: Warehouse, home: Home) -> int:
    settings, toolbox, model = _described(home.root)
    plan = BuildPlan(
        warehouse,
        settings,
        toolbox,
        annotator=model,
        force=False,
    )
    return len(plan.of(Manifest.load(home.sources).active_shards))


def _look_at_sources(home: Home) -> int:
    changed, _ = stale_sources(home.sources, _sources(home), stored_texts(_warehouse(home)))
    return len(changed)


def _register(home: Home) -> int:
    manifest = Manifest.load(home.sources)
    with dagster_instance(home) as instance:
        register_shards(instance, manifest)
    return len(manifest.active_shards)


def _explain(home: Home) -> int:
    last = Manifest.load(home.sources).active_shards[-1].key
    warehouse = _warehouse(home)
    [call_id, *_] = warehouse.read_partition("candidate_calls", last, _TOOLS[0])["call_id"]
    began = time.perf_counter()
    ReadHome(home.root).explain(call_id)
    return round(1000 * (time.perf_counter() - began))


def _build_again(home: Home, *flags: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_command(home.root, "build", *flags)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def _files(home: Home) -> dict[str, int]:
    folders = {"warehouse": home.warehouse, "catalogue": home.warehouse / "catalogue"}
    folders["locks"] = home.root / "locks"
    return {name: sum(1 for _ in folder.rglob("*")) for name, folder in folders.items()}


_STEPS: dict[str, Callable[[Home], Any]] = {
    # The imports of the others, and nothing else.
    "start": lambda _home: None,
    "load the manifest": lambda home: len(Manifest.load(home.sources).shards),
    "look whether sources changed": _look_at_sources,
    "list all partitions": _list_partitions,
    "warehouse.prepare": lambda home: open_warehouse(home) and None,
    "call_statistics": lambda home: _warehouse(home).view("call_statistics").height,
    "all views": _read_views,
    "plan of an unchanged build": _plan,
    "register the partitions": _register,
    "register them again": _register,
    "files": _files,
}
# Commands as a user runs them; what they find are their processor seconds. The last two write.
_COMMANDS: dict[str, Callable[[Home], Any]] = {
    # Registers the shards in Dagster and looks once at all texts.
    "first `build`": lambda home: _build_again(home),
    "`build` with nothing to do": lambda home: _build_again(home),
    "`build` with another τ_f": lambda home: _build_again(home, "--set", _OTHER_THRESHOLD),
    "`build` with the first τ_f": lambda home: _build_again(home),
}
# Read rows. What explaining finds are its milliseconds.
_OF_ROWS: dict[str, Callable[[Home], Any]] = {
    "explain": _explain,
    "calls to label": lambda home: _warehouse(home).ask("calls_to_label", per_tool=40).height,
}


def _measured(home: Home, step: str) -> dict[str, float | Any]:
    """Seconds, processor seconds and memory of a step in this process."""
    with peak_memory() as peak:
        began, used = time.perf_counter(), time.process_time()
        found = {**_STEPS, **_OF_ROWS, **_COMMANDS}[step](home)
        seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {
        "seconds": round(seconds, 3),
        "processor_seconds": round(processor, 3),
        "peak_gib": round(peak[0], 3),
        "found": found,
    }


def measure(home: Home, step: str) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.many_shards", "--work", str(home.root)]
    told = subprocess.run(
        [*command, "--step", step], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(told.splitlines()[-1])


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Grow a home step by step, measure it at each size, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--ingest", type=int, help="texts, of which each becomes a shard")
    parser.add_argument("--calls", type=int, default=_CALLS, help="of each tool in a shard")
    parser.add_argument("--work", type=Path, help="home to make, or go on with, and keep")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(_measured(Home(options.work.absolute()), options.step)))
        return
    with tempfile.TemporaryDirectory(prefix="toolformer-shards-") as temporary:
        home = Home((options.work or Path(temporary)).absolute())
        figures: dict[str, Any] = {"machine": machine(), "sizes": {}}
        if options.ingest:
            figures["ingest_seconds"] = round(ingest(home, options.ingest), 1)
            print(json.dumps(figures))
            fill_catalogues(home)
            left_out = ("all views", "explain")
            named = [step for step in (*_STEPS, *_OF_ROWS) if step not in left_out]
            steps = {step: measure(home, step) for step in named}
            figures |= {"steps": steps, "store": count_requests(home)}
            print(json.dumps(figures, indent=2))
        steps = (*_STEPS, *_OF_ROWS, *_COMMANDS)
        for shards in () if options.ingest else sorted(options.shards):
            began = time.perf_counter()
            grow(home, shards, options.calls)
            figures["sizes"][shards] = {
                "growing_seconds": round(time.perf_counter() - began, 1),
                "manifest_bytes": (home.sources / "manifest.json").stat().st_size,
                "warehouse_bytes": _bytes(home.warehouse),
                "steps": {step: measure(home, step) for step in steps},
            }
            print(json.dumps(figures["sizes"][shards], indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
