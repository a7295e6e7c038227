"""What was sampled, what was kept and why not: the views, with plots (paper, table 2)."""

import dagster as dg
import polars as pl

from assets.shard_stage import expected_errors
from dagster_project.fingerprints import CODE_VERSIONS
from dagster_project.metadata import table_markdown
from dagster_project.plots.figures import (
    funnel_plot,
    loss_reduction_histogram,
    threshold_plot,
)
from dagster_project.plots.style import png_markdown
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource

# Of each tool.
_EXAMPLES = 5


@dg.asset(
    group_name="train",
    kinds={"duckdb", "matplotlib"},
    deps=["augmented_texts"],
    code_version=CODE_VERSIONS["call_statistics"],
)
def call_statistics(
    settings: SettingsResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """Funnel, thresholds, reasons and examples of the calls so far, from the warehouse's views.

    Of the round of annotation that the settings name; `by tool` shows all rounds.
    """
    with expected_errors():
        number = settings.load().sampling.round
        store = warehouse.open()
        every_round = store.view("call_statistics")
        statistics = every_round.filter(pl.col("round") == number)
        funnel = store.view("call_funnel", round_number=number)
        sweep = store.view("threshold_sweep", round_number=number)
        reasons = store.view("drop_reasons", round_number=number)
        examples = store.best_examples(per_tool=_EXAMPLES).filter(pl.col("round") == number)
        examples = examples.drop("round")
        scored = store.ask("scored_calls", round=number)
    thresholds = dict(scored.group_by("tool").agg(pl.col("filtering_threshold").max()).iter_rows())
    return dg.MaterializeResult(
        metadata={
            "funnel plot": dg.MetadataValue.md(png_markdown(funnel_plot(funnel), "funnel")),
            "loss reductions": dg.MetadataValue.md(
                png_markdown(loss_reduction_histogram(scored, thresholds), "loss reductions")
            ),
            "kept calls by threshold": dg.MetadataValue.md(
                png_markdown(threshold_plot(sweep), "kept calls by threshold")
            ),
            "by tool": dg.MetadataValue.md(table_markdown(every_round, rows=20)),
            "threshold sweep": dg.MetadataValue.md(table_markdown(sweep, rows=40)),
            "dropped": dg.MetadataValue.md(table_markdown(reasons, rows=60)),
            "kept examples": dg.MetadataValue.md(table_markdown(examples, rows=20, width=80)),
            "round": number,
            "candidates": int(statistics["candidates"].sum()),
            "kept": int(statistics["kept"].sum()),
        }
    )
