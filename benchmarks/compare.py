"""Measures how long `toolformer compare` takes for two homes with many calls.

The calls are random (`large_warehouse.py`). In the second home every tenth call has other
arguments, every tenth has another result, and the filtering threshold is lower. Therefore no two
partitions have the same inputs, and every partition is read. A comparison of the first home with
itself reads only catalogues. Each comparison has its own process. Processor time covers all
threads.

    python -m benchmarks.compare --work FOLDER [--calls 10000000] [--shards 40] [--turns 3]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.large_warehouse import identifiers, shard_frames
from benchmarks.machine import machine
from toolformer.home.fingerprints import FINGERPRINT
from toolformer.home.home import Home
from warehouse.comparison import TABLES
from warehouse.warehouse import Warehouse

_TOOLS = 5
_CALLS_PER_TEXT = 20
_THRESHOLD = 0.5


def _changed(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    is_tenth = pl.int_range(pl.len()) % 10 == 0
    if table == "candidate_calls":
        return rows.with_columns(
            arguments=pl.when(is_tenth).then(pl.col("arguments") + " + 0").otherwise("arguments")
        )
    if table == "executed_calls":
        return rows.with_columns(
            result=pl.when(is_tenth).then(pl.col("result") + ".0").otherwise("result")
        )
    if table == "filtered_calls":
        is_kept = pl.col("loss_with_result").is_not_null() & (
            pl.col("loss_reduction") >= _THRESHOLD
        )
        return rows.with_columns(
            filtering_threshold=pl.lit(_THRESHOLD),
            is_kept=is_kept,
            reason=pl.when(is_kept).then(pl.lit("kept")).otherwise("reason"),
        )
    return rows


def _draw(homes: list[Home], calls: int, shards: int) -> None:
    # Shards of an earlier run are kept.
    warehouses = [Warehouse(home.warehouse, home.database) for home in homes]
    per_partition = calls // (2 * shards * _TOOLS)
    for number in range(shards):
        shard = f"shard-{number:05d}"
        if len(warehouses[1].partitions("filtered_calls", shard)) == _TOOLS:
            continue
        generator = np.random.default_rng(number)
        documents = identifiers(generator, per_partition * _TOOLS // _CALLS_PER_TEXT)
        for table, name, rows in shard_frames(generator, shard, documents, per_partition):
            if table in TABLES:
                for home, each in zip(warehouses, (rows, _changed(table, rows)), strict=True):
                    made_of = {FINGERPRINT: f"{home.folder} {table}"}
                    home.replace_partition(table, shard, name, each, metadata=made_of)


def _measure(first: Home, second: Home) -> dict[str, Any]:
    command = [sys.executable, "-m", "dagster_project.cli", "compare", "--json"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*command, str(first.root), str(second.root)], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    totals = Counter[str]()
    for row in json.loads(done.stdout)["by_tool"]:
        totals[row["kept_by"]] += row["calls"]
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2
        ),
        "load": round(os.getloadavg()[0], 1),
        **totals,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the two homes")
    parser.add_argument(
        "--calls", type=int, default=10_000_000, help="candidate calls in both homes"
    )
    parser.add_argument("--shards", type=int, default=40, help="shards per home")
    parser.add_argument("--turns", type=int, default=3, help="comparisons per pair of homes")
    options = parser.parse_args()
    homes = [Home(options.work / name) for name in ("first", "second")]
    _draw(homes, options.calls, options.shards)
    print(json.dumps(machine()))
    for name, second in {"all other": homes[1], "all equal": homes[0]}.items():
        for _ in range(options.turns):
            print(json.dumps({"partitions": name, **_measure(homes[0], second)}), flush=True)


if __name__ == "__main__":
    main()
