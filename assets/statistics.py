"""What was sampled, what was kept and why not: the views, with plots (paper, table 2)."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from assets.run import Run
from assets.stage import Stage
from assets.stage_asset import FOLLOWS, asset_of
from toolformer.scoring.chance_level import percent
from toolformer_home.metadata import table_markdown
from toolformer_home.plots.figures import (
    funnel_plot,
    loss_reduction_histogram,
    threshold_plot,
)
from toolformer_home.plots.files import plot_links
from toolformer_home.report.verdicts import (
    Verdict,
    cost_of_tools,
    examples_above_chance,
    verdicts_markdown,
    verdicts_of,
)

CALL_STATISTICS = Stage(
    name="call_statistics",
    version="1",
    group="train",
    kinds=("duckdb", "matplotlib"),
    reads=("augmented_texts",),
    settings=("sampling.round", "costs.price_per_hour"),
)
# Of each tool.
_EXAMPLES = 5


@asset_of(CALL_STATISTICS, automation_condition=FOLLOWS)
def call_statistics(run: Run) -> dg.MaterializeResult:
    """Funnel, thresholds, reasons and examples of the calls so far, from the warehouse's views.

    Of the round of annotation that the settings name. The asset `report` shows all rounds.
    """
    loaded, store = run.settings, run.warehouse
    number = loaded.sampling.round
    statistics = store.view("call_statistics", round_number=number)
    funnel = store.view("call_funnel", round_number=number)
    sweep = store.view("threshold_sweep", round_number=number)
    reasons = store.view("drop_reasons", round_number=number)
    reductions = store.view("loss_reductions", round_number=number)
    costs = cost_of_tools(store, loaded).filter(round=number)
    verdicts = [verdict for verdict in verdicts_of(store) if verdict.round == number]
    examples = examples_above_chance(store, verdicts, per_tool=_EXAMPLES)
    thresholds = {verdict.tool: verdict.filtering_threshold for verdict in verdicts}
    plots = {
        "funnel plot": funnel_plot(funnel),
        "loss reductions": loss_reduction_histogram(reductions, thresholds),
        "kept calls by threshold": threshold_plot(sweep),
    }
    return dg.MaterializeResult(
        metadata={
            **_results(verdicts),
            # Numbers next: Dagster plots them over the runs.
            "round": number,
            "candidates": int(statistics["candidates"].sum()),
            "kept": int(statistics["kept"].sum()),
            "tokens fed": int(statistics["tokens_fed"].sum()),
            "seconds of computing": round(float(statistics["seconds"].sum()), 1),
            **_money(costs),
            **plot_links(run.home, "call_statistics", plots),
            # Dagster shows about 500 pixels of a table: few columns, counts first.
            "by tool": table_markdown(_by_tool(statistics), rows=20),
            "threshold sweep": table_markdown(_by_threshold(sweep), rows=40),
            "dropped": table_markdown(reasons.select("tool", "rows", "reason"), rows=60),
            "examples above chance": table_markdown(
                examples.select("tool", "loss_reduction", "contrast", "call"), rows=20
            ),
        }
    )


def _results(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Shares and verdict of all tools in three rows, then the shares of each as numbers."""
    shares = {
        "kept share": [(verdict.tool, verdict.against_chance.kept_share) for verdict in verdicts],
        "chance share": [
            (verdict.tool, verdict.against_chance.chance_share) for verdict in verdicts
        ],
    }
    rows, numbers = {}, {}
    for name, tools in shares.items():
        known = {tool: share for tool, share in tools if share is not None}
        texts = (f"{tool} {percent(share)}" for tool, share in known.items())
        rows[name] = ", ".join(texts) or "not measured"
        numbers |= {f"{name}: {tool}": round(share, 4) for tool, share in known.items()}
    verdict = dg.MetadataValue.md(verdicts_markdown(verdicts))
    return {**rows, "verdict": verdict, **numbers}


def _money(costs: pl.DataFrame) -> dict[str, float]:
    """What all tools cost together, and each kept call, where there is a price."""
    if "money" not in costs.columns:
        return {}
    money, kept = float(costs["money"].sum()), int(costs["kept"].sum())
    return {
        "money": round(money, 4),
        **({"money per kept call": round(money / kept, 6)} if kept else {}),
    }


def _by_tool(statistics: pl.DataFrame) -> pl.DataFrame:
    return statistics.select(
        "tool",
        "kept",
        "scored",
        "candidates",
        (pl.col("kept") / pl.col("scored")).fill_nan(None).round(3).alias("kept_share"),
    )


def _by_threshold(sweep: pl.DataFrame) -> pl.DataFrame:
    return sweep.select(
        "tool",
        pl.col("filtering_threshold").alias("τ_f"),
        pl.col("kept_calls").alias("kept"),
        pl.col("kept_share", "chance_share").round(3),
    )
