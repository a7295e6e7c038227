"""Counts kept calls per tool on real texts, at three thresholds, beside the paper's proportions.

Builds two homes with the `laptop` preset and all tools that can run here: the first N dated web
documents, and N Wikipedia passages spread evenly, each cut at its beginning. WikiSearch and QA
search all of the passages. Goes on where an interrupted measurement stopped.

    python -m benchmarks.kept_calls --work FOLDER [--documents 300] [--json FILE]
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.build import run_command
from benchmarks.machine import machine, versions
from benchmarks.workload import test_data_file
from dagster_project.commands import console
from dagster_project.home import Home
from warehouse.query import run_query

# About 200 tokens: one window, so that a text weighs the same for all tools.
_CHARACTERS = 900
_THRESHOLDS = (0.5, 1.0, 2.0)
# Texts of C* with a call, at these thresholds (paper, table 2).
_PAPER = {
    "QA": (51_987, 18_526, 5_135),
    "WikiSearch": (207_241, 60_974, 13_944),
    "Calculator": (3_680, 994, 138),
    "Calendar": (61_811, 20_587, 3_007),
    "MT": (3_156, 1_034, 229),
}
_KEPT = """
select tool, filtering_threshold, kept_calls, kept_texts, chance_share
from threshold_sweep where filtering_threshold in (0.5, 1.0, 2.0)
"""
_STAGES = """
select tool, stage, rows from call_funnel
where stage in ('preselected', 'candidates', 'executed', 'scored')
"""


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where the homes are made")
    parser.add_argument("--documents", type=int, default=300, help="of each collection")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(), "versions": versions()}
    for name, family in (("web documents", "web_docs"), ("Wikipedia passages", "wiki_passages")):
        home = Home(options.work / family)
        seconds = _build(home, test_data_file(family), options.documents)
        rows = _figures(home)
        figures[name] = {"documents": options.documents, "seconds": seconds, "tools": rows}
        console.heading(f"{options.documents} {name} ({seconds:.0f} s)")
        _print_tables(pl.DataFrame(rows))
        if options.json is not None:
            options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _build(home: Home, source: Path, documents: int) -> float:
    if not home.sources.exists():
        home.root.mkdir(parents=True, exist_ok=True)
        home.settings_file.write_text(
            f"preset: laptop\nwikipedia_index:\n  source: {test_data_file('wiki_passages')}\n",
            encoding="utf-8",
        )
        texts = home.root / "texts.jsonl"
        write_beginnings(source, documents, texts)
        run_command(home.root, "ingest", str(texts))
    return run_command(home.root, "build")


def write_beginnings(source: Path, documents: int, file: Path) -> None:
    """Write the beginnings of so many documents of a collection, each about one window."""
    with file.open("w", encoding="utf-8") as lines:
        for row in _chosen(list(_rows(source)), documents):
            beginning = row["text"][:_CHARACTERS].rsplit(maxsplit=1)[0]
            lines.write(json.dumps({**row, "text": beginning}) + "\n")


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if len(row["text"].split()) > 1:
                yield row


def _chosen(rows: list[dict[str, Any]], documents: int) -> list[dict[str, Any]]:
    """The first where texts are dated, else evenly spread: neighbours are of one article."""
    if "date" in rows[0]:
        return rows[:documents]
    return rows[:: max(1, len(rows) // documents)][:documents]


def _figures(home: Home) -> list[dict[str, Any]]:
    """A row per tool; texts with a kept call also as shares of WikiSearch's, as in the paper."""
    stages = run_query(home.warehouse, _STAGES)
    kept = run_query(home.warehouse, _KEPT)
    texts = {
        (tool, threshold): count
        for tool, threshold, count in kept.select(
            "tool", "filtering_threshold", "kept_texts"
        ).iter_rows()
    }
    rows = []
    for tool, paper in _PAPER.items():
        row: dict[str, Any] = {"tool": tool}
        for stage, count in stages.filter(tool=tool).select("stage", "rows").iter_rows():
            row[stage] = count
        for place, threshold in enumerate(_THRESHOLDS):
            of_tool = kept.filter(tool=tool, filtering_threshold=threshold)
            row[f"calls at {threshold}"] = of_tool["kept_calls"].sum()
            row[f"texts at {threshold}"] = texts.get((tool, threshold), 0)
            row[f"by chance at {threshold}"] = of_tool["chance_share"].max()
            searched = texts.get(("WikiSearch", threshold), 0)
            row[f"of WikiSearch's at {threshold}"] = (
                row[f"texts at {threshold}"] / searched if searched else None
            )
            row[f"in the paper at {threshold}"] = paper[place] / _PAPER["WikiSearch"][place]
        rows.append(row)
    return rows


def _print_tables(figures: pl.DataFrame) -> None:
    """A table of the stages, and one of what is kept for each threshold."""
    console.frame(figures.select(name for name in figures.columns if " at " not in name))
    for threshold in _THRESHOLDS:
        suffix = f" at {threshold}"
        kept = {
            name: name.removesuffix(suffix) for name in figures.columns if name.endswith(suffix)
        }
        console.heading(f"Kept at τ_f {threshold}")
        console.frame(figures.select("tool", *kept).rename(kept))


if __name__ == "__main__":
    main()
