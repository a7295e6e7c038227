"""The statistics of a large warehouse: how long each view and command takes, and how much memory.

Rows are drawn at random (`large_warehouse.py`). Each view is read whole, in a process that already
imported DuckDB; the commands are started from the shell, each alone for its memory. Of the report
it also tells the size, and how many of the kept calls it shows.

    python -m benchmarks.statistics --rows 10000000 [--work FOLDER] [--json FILE]
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.large_warehouse import fill
from benchmarks.machine import machine, versions
from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse
from warehouse.needs import STATISTICS_VIEWS
from warehouse.warehouse import Warehouse

# Views with a line for every call are asked for one.
_OF_CALLS = ("call_provenance", "kept_examples")

# Prints seconds and KiB of a command. A process of its own, since what a parent held when it
# started a child counts as the child's memory.
_WATCH = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - began
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def main() -> None:
    """Make the warehouse unless it is there, time what reads it, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="candidate calls")
    parser.add_argument(
        "--work", type=Path, help="home to make and keep; by default a temporary one"
    )
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="toolformer-statistics-") as temporary:
        home = Home(options.work or Path(temporary))
        figures = _measure(home, options.rows, options.runs)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def _measure(home: Home, rows: int, runs: int) -> dict[str, Any]:
    store = open_warehouse(home)
    if not store.slices("candidate_calls"):
        fill(store, rows)
    size = sum(file.stat().st_size for file in home.warehouse.rglob("*.parquet"))
    call = store.query("select call_id, document_id from candidate_calls limit 1").row(0)
    shown = [name for name in STATISTICS_VIEWS if name not in _OF_CALLS]
    views = {name: _median(runs, lambda name=name: store.view(name)) for name in shown}
    of_call = "where call_id = $call"
    queries = {
        "one call's provenance": f"from call_provenance {of_call}",
        "one call's losses": f"from filtered_calls {of_call}",
        "one document's calls": "from candidate_calls where document_id = $document",
    }
    values = {"call": call[0], "document": call[1]}
    rows_read = {
        name: _median(
            runs,
            lambda sql=sql: store.query(
                sql, {key: value for key, value in values.items() if f"${key}" in sql}
            ),
        )
        for name, sql in queries.items()
    }
    rows_read["one call's story"] = _median(
        runs, lambda: store.ask("explained_call", call_id=call[0])
    )
    tools = store.view("call_statistics").select("round", "tool").rows()
    rows_read["best examples"] = _median(runs, lambda: store.best_examples(tools, per_tool=3))
    commands = {
        "sql 'select 1'": ["sql", "select 1"],
        "sql 'from call_statistics'": ["sql", "from call_statistics"],
        "sql 'from near_misses'": ["sql", "from near_misses"],
        "stats": ["stats"],
        "explain --no-model": ["explain", call[0], "--no-model"],
    }
    page = home.root / "report-of-benchmark.html"
    commands["report"] = ["report", "--output", str(page)]
    timed = {name: _command(home, arguments, runs) for name, arguments in commands.items()}
    return {
        "candidates": rows,
        "slices": sum(
            len(store.slices(name))
            for name in ("candidate_calls", "executed_calls", "filtered_calls")
        ),
        "gigabytes": round(size / 1e9, 2),
        "views": views,
        "queries": rows_read,
        "commands": {name: seconds for name, (seconds, _) in timed.items()},
        "peak_mib": {name: peak for name, (_, peak) in timed.items()},
        "report": _report_figures(page, store),
        "machine": machine(),
        "versions": versions(),
    }


def _median(runs: int, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds), 3)


def _command(home: Home, arguments: list[str], runs: int) -> tuple[float, int]:
    """Seconds of a command from the shell, and its most memory in MiB."""
    environment = {**os.environ, "TOOLFORMER_HOME": str(home.root)}
    program = str(Path(sys.executable).with_name("toolformer"))
    watched = [sys.executable, "-c", _WATCH, program, *arguments]
    told = [
        subprocess.run(watched, env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(runs)
    ]
    seconds, kibibytes = zip(*(map(float, line.split()) for line in told), strict=True)
    return round(statistics.median(seconds), 3), int(max(kibibytes)) // 1024


def _report_figures(page: Path, store: Warehouse) -> dict[str, Any]:
    """How large the report is, and how many of the kept calls its texts show."""
    shown = re.search(r"([\d,]+) texts with ([\d,]+) kept calls", page.read_text(encoding="utf-8"))
    texts, calls = (int(found.replace(",", "")) for found in shown.groups()) if shown else (0, 0)
    return {
        "megabytes": round(page.stat().st_size / 1e6, 1),
        "kept_calls": store.view("call_statistics")["kept"].sum(),
        "shown_texts": texts,
        "shown_kept_calls": calls,
    }


if __name__ == "__main__":
    main()
