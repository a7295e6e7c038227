"""What was sampled, what was kept and why not: the views, with plots (paper, table 2)."""

import dagster as dg
import polars as pl

from assets.shard_stage import expected_errors
from dagster_project.fingerprints import CODE_VERSIONS
from dagster_project.metadata import table_markdown
from dagster_project.plots.figures import (
    funnel_plot,
    loss_reduction_histogram,
    png_markdown,
    threshold_plot,
)
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource

_SCORED_CALLS = """
select tool, loss_reduction, filtering_threshold
from filtered_calls
where
    round = $round and loss_with_result is not null and loss_call_without_result is not null
"""


@dg.asset(
    group_name="train_and_evaluate",
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
        of_round = {"round": settings.load().sampling.round}
        store = warehouse.open()
        every_round = store.query("select * from call_statistics order by round, tool")
        statistics = every_round.filter(**of_round)
        funnel = store.query(
            "select * exclude (round) from call_funnel where round = $round "
            "order by tool, stage_order",
            of_round,
        )
        sweep = store.query(
            "select * exclude (round) from threshold_sweep where round = $round "
            "order by tool, filtering_threshold",
            of_round,
        )
        reasons = store.query(
            "select * exclude (round) from drop_reasons where round = $round "
            "order by tool, stage, rows desc",
            of_round,
        )
        examples = store.query(
            "select tool, loss_reduction, text_before, call, text_after from kept_examples "
            "where round = $round "
            "qualify row_number() over (partition by tool order by loss_reduction desc) <= 5 "
            "order by tool, loss_reduction desc",
            of_round,
        )
        scored = store.query(_SCORED_CALLS, of_round)
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
            **of_round,
            "candidates": int(statistics["candidates"].sum()),
            "kept": int(statistics["kept"].sum()),
        }
    )
