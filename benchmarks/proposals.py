"""Counts what it costs to keep a call where the model chooses its place, and where the tool does.

Builds one home with preset `small` and three rounds, all annotated by the base model with its
prompts: places chosen by p(` [`), places proposed by the tools, and calls proposed by the tools.
The texts are worked problems, and beginnings of web documents and of Wikipedia passages, one
window each. Goes on where an interrupted measurement stopped.

    python -m benchmarks.proposals --work FOLDER [--texts 40] [--json FILE]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.build import run_command
from benchmarks.kept_calls import write_beginnings
from benchmarks.machine import machine, versions
from benchmarks.workload import test_data_file
from dagster_project.commands import console
from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse

_KINDS = ("none", "positions", "calls")
_SETTINGS = """\
preset: small
corpus:
  shard_size: 20
  held_out_every: 0
  sources:
    - path: {problems}
      text_column: solution
      context_column: question
      limit: {texts}
      tools: [Calculator]
    - {{path: {home}/web_docs.jsonl, tools: [Calendar]}}
    - {{path: {home}/wiki_passages.jsonl, tools: [WikiSearch]}}
wikipedia_index: {{source: {passages}}}
tools:
  # Kept by the filter alone, so that the share of chance is that of the filter.
  Calendar: {{contrast_threshold: null}}
  WikiSearch: {{contrast_threshold: null}}
rounds:
  - sampling: {{proposals: none}}
  - sampling: {{proposals: positions, annotator: base}}
  - sampling: {{proposals: calls, annotator: base}}
"""
_FIGURES = """
select
    tool,
    proposals.round,
    sum(proposals.candidates)::bigint as candidates,
    sum(proposals.kept)::bigint as kept,
    sum(proposals.candidates) / nullif(sum(proposals.kept), 0) as candidates_per_kept,
    any_value(chance.kept_share) as kept_share,
    any_value(chance.chance_share) as chance_share,
    any_value(chance.chance_calls) as chance_calls,
    any_value(computing.seconds) as seconds
from call_proposals as proposals
left join
    (select * from threshold_sweep where abs(filtering_threshold - $threshold) < 1e-9) as chance
    using (tool, round)
left join
    (
        select tool, round, sum(seconds) as seconds
        from stage_costs where stage in ('sampling', 'execution', 'scoring') group by all
    ) as computing
    using (tool, round)
group by tool, proposals.round
order by tool, proposals.round
"""
# τ_f of the preset, the same for its tools.
_THRESHOLD = 0.1


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where the home is made")
    parser.add_argument("--texts", type=int, default=40, help="of each collection")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    home = Home(options.work)
    _prepare(home, options.texts)
    for number in range(1, len(_KINDS) + 1):
        run_command(home.root, "build", "--set", f"sampling.round={number}")
    rows = open_warehouse(home).query(_FIGURES, {"threshold": _THRESHOLD})
    kinds = pl.col("round").replace_strict(dict(enumerate(_KINDS, start=1)))
    rows = rows.with_columns(kinds.alias("round")).rename({"round": "proposals"})
    console.heading(f"{options.texts} texts of each collection, τ_f {_THRESHOLD}")
    console.frame(rows)
    if options.json is not None:
        figures: dict[str, Any] = {"machine": machine(), "versions": versions()}
        figures |= {"texts": options.texts, "tools": rows.to_dicts()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _prepare(home: Home, texts: int) -> None:
    if home.settings_file.exists():
        return
    home.root.mkdir(parents=True, exist_ok=True)
    for family in ("web_docs", "wiki_passages"):
        write_beginnings(test_data_file(family), texts, home.root / f"{family}.jsonl")
    home.settings_file.write_text(
        _SETTINGS.format(
            problems=test_data_file("worked_problems"),
            passages=test_data_file("wiki_passages"),
            home=home.root,
            texts=texts,
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
