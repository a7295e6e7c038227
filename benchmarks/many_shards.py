"""Measures what grows with the number of shards: manifest, tables, views, plan, Dagster partitions.

Shards are small (8 texts, and 8 candidate calls for each of two tools), so that only their number
matters. The project's own code cuts them from files. Their 18 partitions per shard are random
(`large_warehouse.py`) and stored with the fingerprints of a finished build by the embedded model.
Therefore `toolformer build` finds nothing to do; with another filtering threshold it filters and
merges. Each step runs in its own process. Processor time covers all threads, and is more reliable
than seconds if other programs share the cores.

With `--ingest N`, N texts are cut into one shard each, as by `toolformer ingest`. Then the
catalogues get all partitions that a build would publish, but every shard links to the files of the
first one. Only code that searches for specific calls would notice. After that, commands are
measured for one shard, and finally an ingest after all shards were removed from the corpus.

    python -m benchmarks.many_shards --shards 100 1000 [--calls N] [--work FOLDER] [--json FILE]
    python -m benchmarks.many_shards --ingest 10000 [--work FOLDER] [--json FILE]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.documents import stored_texts
from benchmarks.build import run_command
from benchmarks.machine import machine, peak_memory
from benchmarks.shard_homes import (
    CALLS,
    TOOLS,
    described,
    fill_catalogues,
    grow,
    ingest,
    sources_of,
    warehouse_of,
)
from dagster_project.runs.plan import BuildPlan
from dagster_project.runs.run_job import dagster_instance
from tests.warehouse.rows import frame
from toolformer.home.fingerprints import FINGERPRINT, PARTS
from toolformer.home.home import Home
from toolformer.home.partitions import register_shards
from toolformer.home.reading import Home as ReadHome
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.manifest import Manifest
from warehouse.label_sheets import draw_sheet
from warehouse.labels import append_labels
from warehouse.needs import STATISTICS_VIEWS
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

_EVALUATIONS, _REPEATED = 3000, 20
_ONE_SHARD = ("--shards", "shard-00007")
_OTHER_THRESHOLD = "tools.Calculator.filtering_threshold=0.61"
# Views with a row per call are not read as a whole.
_OF_CALLS = ("call_provenance", "kept_examples")


# --- the steps ----------------------------------------------------------------------------------


def _list_partitions(home: Home) -> int:
    return len(warehouse_of(home).partitions())


def _read_views(home: Home) -> dict[str, float]:
    warehouse, seconds = warehouse_of(home), {}
    for name in STATISTICS_VIEWS:
        if name not in _OF_CALLS:
            began = time.perf_counter()
            warehouse.view(name)
            seconds[name] = round(time.perf_counter() - began, 3)
    return seconds


def _plan(home: Home) -> int:
    settings, toolbox, model = described(home.root)
    plan = BuildPlan(warehouse_of(home), settings, toolbox, annotator=model, force=False)
    return len(plan.of(Manifest.load(home.sources).active_shards))


def _check_sources(home: Home) -> int:
    changed, _ = stale_sources(home.sources, sources_of(home), stored_texts(warehouse_of(home)))
    return len(changed)


def _register(home: Home) -> int:
    manifest = Manifest.load(home.sources)
    with dagster_instance(home) as instance:
        register_shards(instance, manifest)
    return len(manifest.active_shards)


def _explain(home: Home) -> int:
    last = Manifest.load(home.sources).active_shards[-1].key
    warehouse = warehouse_of(home)
    [call_id, *_] = warehouse.read_partition("candidate_calls", last, TOOLS[0])["call_id"]
    began = time.perf_counter()
    ReadHome(home.root).explain(call_id)
    return round(1000 * (time.perf_counter() - began))


def _used_by(home: Home, *command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_command(home.root, *command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def _publish_evaluation(home: Home) -> float:
    """Return the milliseconds for publishing one of 3,000 partitions of an evaluation."""
    metadata = {FINGERPRINT: "0" * 32, PARTS: json.dumps({"settings": "x" * 1500})}
    with tempfile.TemporaryDirectory(dir=home.root) as folder:
        warehouse = Warehouse(Path(folder) / "warehouse", Path(folder) / "warehouse.duckdb")
        rows = frame("evaluation_results", {"benchmark": "facts"})
        names = [f"facts.model-{number}" for number in range(_EVALUATIONS)]
        warehouse.replace_partitions(
            {("evaluation_results", name): (rows, {ALL: metadata}) for name in names}
        )
        seconds = []
        for name in names[:_REPEATED]:
            began = time.perf_counter()
            warehouse.replace_partition("evaluation_results", ALL, name, rows, metadata=metadata)
            seconds.append(time.perf_counter() - began)
    return round(1000 * statistics.median(seconds), 1)


def _store_label(home: Home) -> float:
    label = {"label": "unsure", "rater": "benchmark", "call_id": "none"}
    began = time.perf_counter()
    with home.output_lock("labels"):
        append_labels(home.warehouse, [label])
    return round(1000 * (time.perf_counter() - began), 1)


def _ingest_with_retired_shards(home: Home) -> float:
    """Remove all shards from the corpus, and return the seconds for ingesting another text."""
    settings = json.loads(home.settings_file.read_text(encoding="utf-8"))
    del settings["corpus"]["sources"]
    home.settings_file.write_text(json.dumps(settings), encoding="utf-8")
    run_command(home.root, "sources", "remove", str(home.root / "texts.jsonl"))
    another = home.root / "another.jsonl"
    another.write_text(json.dumps({"text": "Another text. " * 20}) + "\n", encoding="utf-8")
    began = time.perf_counter()
    run_command(home.root, "ingest", str(another))
    return round(time.perf_counter() - began, 1)


def _files(home: Home) -> dict[str, int]:
    folders = {"warehouse": home.warehouse, "catalogue": home.warehouse / "catalogue"}
    folders["locks"] = home.root / "locks"
    return {name: sum(1 for _ in folder.rglob("*")) for name, folder in folders.items()}


_STEPS: dict[str, Callable[[Home], Any]] = {
    # Only the imports, which all steps have in common.
    "start": lambda _home: None,
    "load the manifest": lambda home: len(Manifest.load(home.sources).shards),
    "look whether sources changed": _check_sources,
    "list all partitions": _list_partitions,
    "warehouse.prepare": lambda home: open_warehouse(home) and None,
    "call_statistics": lambda home: warehouse_of(home).view("call_statistics").height,
    "all views": _read_views,
    "plan of an unchanged build": _plan,
    "register the partitions": _register,
    "register them again": _register,
    "files": _files,
}
# Commands for one shard of many, as a user runs them. They return processor seconds.
_OF_ONE_SHARD: dict[str, Callable[[Home], Any]] = {
    "`stats`": lambda home: _used_by(home, "stats"),
    "first `build` of one shard": lambda home: _used_by(home, "build", *_ONE_SHARD),
    "dry run of one shard": lambda home: _used_by(home, "build", "--dry-run", *_ONE_SHARD),
    "`build` of one shard, nothing to do": lambda home: _used_by(home, "build", *_ONE_SHARD),
    "`build` of one shard, another τ_f": lambda home: _used_by(
        home, "build", *_ONE_SHARD, "--set", _OTHER_THRESHOLD
    ),
    "publish one of 3,000 evaluations": _publish_evaluation,
    "store a label": _store_label,
    # This step is the last one, because it removes the shards.
    "ingest beside retired shards": _ingest_with_retired_shards,
}
# Commands as a user runs them. They return processor seconds. The last two write.
_COMMANDS: dict[str, Callable[[Home], Any]] = {
    "`stats`": lambda home: _used_by(home, "stats"),
    # Registers the shards in Dagster and checks all texts once.
    "first `build`": lambda home: _used_by(home, "build"),
    "`build` with nothing to do": lambda home: _used_by(home, "build"),
    "`build` with another τ_f": lambda home: _used_by(home, "build", "--set", _OTHER_THRESHOLD),
    "`build` with the first τ_f": lambda home: _used_by(home, "build"),
}
# Steps that read rows. `explain` returns milliseconds.
_OF_ROWS: dict[str, Callable[[Home], Any]] = {
    "explain": _explain,
    "calls to label": lambda home: draw_sheet(open_warehouse(home), "Anna").sheet.height,
}


def _measured(home: Home, step: str) -> dict[str, float | Any]:
    with peak_memory() as peak:
        began, used = time.perf_counter(), time.process_time()
        found = {**_STEPS, **_OF_ROWS, **_COMMANDS, **_OF_ONE_SHARD}[step](home)
        seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {
        "seconds": round(seconds, 3),
        "processor_seconds": round(processor, 3),
        "peak_gib": round(peak[0], 3),
        "found": found,
    }


def measure(home: Home, step: str) -> dict[str, Any]:
    """Measure a step in a separate process."""
    command = [sys.executable, "-m", "benchmarks.many_shards", "--work", str(home.root)]
    output = subprocess.run(
        [*command, "--step", step], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--ingest", type=int, help="number of texts; each becomes a shard")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls per tool and shard")
    parser.add_argument("--work", type=Path, help="home to create or continue with; it is kept")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
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
            names = [step for step in _STEPS if step != "all views"]
            steps = {step: measure(home, step) for step in (*names, *_OF_ONE_SHARD)}
            figures["steps"] = steps
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
