"""The statistics of a large warehouse: how long each view and command takes, and how much memory.

Rows are drawn at random by a seed and written as every stage writes its own, so slices have the
real schema, constraints and footers. Each view is read whole, in a process that already imported
DuckDB; the commands are started from the shell.

    python -m benchmarks.statistics --rows 10000000 [--work FOLDER] [--json FILE]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import machine, versions
from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse
from warehouse.needs import STATISTICS_VIEWS
from warehouse.schema import ALL, table_schema
from warehouse.warehouse import Warehouse

_TOOLS = ("Calculator", "Calendar", "QA", "WikiSearch", "MT")
_CALL_TABLES = ("candidate_calls", "executed_calls", "filtered_calls")
_SHARDS = 80
_CANDIDATES_PER_DOCUMENT = 25
# Shares of the samples, near those of the runs in docs/results.md.
_PARSED, _EXECUTED, _KNOWN, _CHANCE = 0.7, 0.9, 0.6, 200
_THRESHOLD = 0.75
# Views with a line for every call are asked for one.
_OF_CALLS = ("call_provenance", "kept_examples")


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
        _fill(store, rows)
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
        "peak_mib": max(peak for _, peak in timed.values()),
        "machine": machine(),
        "versions": versions(),
    }


def _median(runs: int, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return round(sorted(seconds)[len(seconds) // 2], 3)


def _command(home: Home, arguments: list[str], runs: int) -> tuple[float, int]:
    """Seconds of a command from the shell, and the most memory of any so far, in MiB."""
    environment = {**os.environ, "TOOLFORMER_HOME": str(home.root)}
    program = Path(sys.executable).with_name("toolformer")
    seconds = _median(
        runs,
        lambda: subprocess.run(
            [str(program), *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
        ),
    )
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def _fill(store: Warehouse, rows: int) -> None:
    generator = np.random.default_rng(0)
    per_slice = rows // (_SHARDS * len(_TOOLS))
    for number in range(_SHARDS):
        shard = f"shard-{number:05d}"
        ids = _identifiers(generator, max(per_slice // _CANDIDATES_PER_DOCUMENT, 1))
        for table, name, frame in _shard_frames(generator, shard, ids, per_slice):
            store.replace_slice(table, shard, name, frame, metadata={})
        print(f"{shard} of {_SHARDS}", file=sys.stderr)


def _identifiers(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.array([generator.bytes(16).hex() for _ in range(count)])


def _shard_frames(
    generator: np.random.Generator, shard: str, documents: np.ndarray, per_slice: int
) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """The slices of one shard: table, name and rows."""
    yield (
        "documents",
        ALL,
        pl.DataFrame(
            {
                "document_id": documents,
                "shard": shard,
                "text": [f"Text {each}. " * 40 for each in documents],
                "source": "benchmark",
                "source_offset": np.arange(len(documents)),
            }
        ),
    )
    for tool in _TOOLS:
        of_tool = {"shard": shard, "tool": tool, "round": 1}
        yield (
            "document_selection",
            tool,
            pl.DataFrame(
                {"document_id": documents, "is_selected": True, "reason": "always", **of_tool}
            ),
        )
        yield from _calls_of_tool(generator, of_tool, documents, per_slice)
        for stage in ("sampling", "execution", "scoring"):
            cost = {"stage": stage, "candidates": per_slice, "tokens_fed": per_slice * 60}
            frame = pl.DataFrame([{**of_tool, **cost, "seconds": per_slice / 50}])
            yield "stage_costs", f"{tool}.{stage}", frame


def _calls_of_tool(
    generator: np.random.Generator,
    of_tool: Mapping[str, object],
    documents: np.ndarray,
    count: int,
) -> Iterator[tuple[str, str, pl.DataFrame]]:
    tool = str(of_tool["tool"])
    ids = _identifiers(generator, count)
    parsed = generator.random(count) < _PARSED
    arguments = np.char.add(generator.integers(1, 2000, count).astype(str), " * 7")
    position = generator.integers(0, 512, count)
    candidates = pl.DataFrame(
        {
            "call_id": ids,
            "document_id": np.sort(documents[generator.integers(0, len(documents), count)]),
            "window": generator.integers(0, 3, count),
            "position": position,
            "character_offset": position * 4,
            "call_probability": generator.random(count),
            "sample_index": 0,
            "arguments": arguments,
            "sample_text": np.char.add(arguments, ")]"),
            "status": np.where(parsed, "parsed", "dropped"),
            **of_tool,
        }
    ).with_columns(
        reason=pl.when(pl.col("status") == "dropped").then(pl.lit("duplicate")),
    )
    yield "candidate_calls", tool, candidates
    asked = candidates.filter(status="parsed")
    answered = generator.random(asked.height) < _EXECUTED
    executed = asked.select("call_id").with_columns(
        status=pl.Series(np.where(answered, "executed", "failed")),
        result=pl.Series(generator.integers(1, 5000, asked.height).astype(str)),
        duration_ms=pl.Series(generator.lognormal(1.0, 1.0, asked.height)),
        from_cache=pl.Series(generator.random(asked.height) < 0.1),
        tool_version=pl.lit("1"),
        **{name: pl.lit(value) for name, value in of_tool.items()},
    )
    is_failed = pl.col("status") == "failed"
    yield (
        "executed_calls",
        tool,
        executed.with_columns(
            reason=pl.when(is_failed).then(pl.lit("division_by_zero")),
            result=pl.when(~is_failed).then("result"),
        ),
    )
    scored = asked.filter(pl.Series(answered))
    yield "filtered_calls", tool, _decisions(generator, scored, of_tool)
    sample = scored.head(_CHANCE)
    if sample.height > 1:
        yield "chance_calls", tool, _chance(generator, sample, of_tool)


def _losses(generator: np.random.Generator, count: int, mean: float) -> list[pl.Series]:
    without, reduction = generator.gamma(4.0, 1.0, count), generator.normal(mean, 0.6, count)
    return [
        pl.Series("loss_without_call", without),
        pl.Series("loss_call_without_result", without + 0.1),
        pl.Series("loss_with_result", without - reduction),
        pl.Series("loss_reduction", without - (without - reduction)),
    ]


def _decisions(
    generator: np.random.Generator, calls: pl.DataFrame, of_tool: Mapping[str, object]
) -> pl.DataFrame:
    places = [name for name in _PLACE if name in table_schema("filtered_calls").column_names]
    frame = calls.select("call_id", *places).with_columns(
        **{
            name: pl.Series(values)
            for name, values in _losses(generator, calls.height, -0.4).items()
        },
        is_known=pl.Series(generator.random(calls.height) < _KNOWN),
        filtering_threshold=pl.lit(_THRESHOLD),
        pruning_threshold=pl.lit(0.0),
        precision=pl.lit("float32"),
        **{name: pl.lit(value) for name, value in of_tool.items()},
    )
    is_kept = pl.col("is_known") & (pl.col("loss_reduction") >= _THRESHOLD)
    return frame.with_columns(
        is_kept=is_kept,
        reason=pl.when(is_kept)
        .then(pl.lit("kept"))
        .when("is_known")
        .then(pl.lit("below_threshold"))
        .otherwise(pl.lit("loss_without_call_below_pruning_threshold")),
        loss_with_result=pl.when("is_known").then("loss_with_result"),
    ).drop("is_known")


_PLACE = ("document_id", "window", "position")


def _chance(
    generator: np.random.Generator, calls: pl.DataFrame, of_tool: Mapping[str, object]
) -> pl.DataFrame:
    return calls.select("call_id").with_columns(
        other_call_id=pl.col("call_id").shift(1, fill_value=calls["call_id"][-1]),
        result=pl.lit("42"),
        **{
            name: pl.Series(values)
            for name, values in _losses(generator, calls.height, -0.6).items()
        },
        reason=pl.lit("scored"),
        pruning_threshold=pl.lit(0.0),
        precision=pl.lit("float32"),
        **{name: pl.lit(value) for name, value in of_tool.items()},
    )


if __name__ == "__main__":
    main()
