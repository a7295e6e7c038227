"""The decision which calls are kept (paper §2, "Filtering API Calls")."""

from functools import partial

import dagster as dg
import polars as pl

from assets.inputs import Wanted
from assets.outputs import Made
from assets.shard_asset import shard_asset
from assets.shard_stage import NOT_SAMPLED, ShardReport, ShardStage, expected_errors
from dagster_project.fingerprints import filtered_calls_fingerprint
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource


@shard_asset(kinds={"sql", "duckdb"}, deps=["scored_calls"])
def filtered_calls(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
) -> dg.MaterializeResult:
    """Losses and decisions; one row = one executed call, kept or with the reason why not.

    One SQL statement over `scored_calls`, so that another filtering or contrast threshold needs no
    model.
    """
    stage = ShardStage.open(context, "filtered_calls", settings, warehouse)
    with expected_errors():
        tools = toolbox.open(stage.settings, stage.home)

    def make_shard(key: str, report: ShardReport) -> None:
        report.slices.update(tools.unavailable)
        for name in tools.tools:
            report.slices[name] = (
                stage.replace_if_stale(
                    key,
                    stage.slice_name(name),
                    partial(_wanted, stage, key, name),
                    partial(_decide, stage, key, name),
                )
                if stage.has_input("scored_calls", key, stage.slice_name(name))
                else NOT_SAMPLED
            )
        _report_decisions(stage, key, report)

    return stage.run(make_shard)


def _wanted(stage: ShardStage, shard: str, tool_name: str) -> Wanted:
    scored = stage.input("scored_calls", shard, stage.slice_name(tool_name))
    return Wanted(
        filtered_calls_fingerprint(scored.fingerprint, stage.settings, tool_name), (scored,)
    )


def _decide(stage: ShardStage, shard: str, tool_name: str, _wanted: Wanted) -> Made:
    tool_settings = stage.settings.tools.of(tool_name)
    return Made(
        stage.warehouse.ask(
            "filtered_calls",
            shards={shard},
            tool=tool_name,
            round=stage.settings.sampling.round,
            filtering_threshold=tool_settings.filtering_threshold,
            contrast_threshold=tool_settings.contrast_threshold,
        )
    )


def _report_decisions(stage: ShardStage, shard: str, report: ShardReport) -> None:
    rows = stage.rows_of("filtered_calls", shard)
    kept = rows.filter("is_kept")
    report.count({"scored": rows.height, "kept": kept.height})
    if rows.height:
        report.count({"kept share": round(kept.height / rows.height, 4)})
    report.count_reasons("dropped", rows.filter(~pl.col("is_kept")))
    for (name,), of_tool in kept.group_by("tool"):
        report.count({f"kept: {name}": of_tool.height})
    report.preview = (
        kept.sort("loss_reduction", descending=True)
        .head(5)
        .join(
            stage.rows_of("executed_calls", shard).select("call_id", "result"),
            on="call_id",
            how="left",
        )
        .join(
            stage.rows_of("candidate_calls", shard).select("call_id", "arguments"),
            on="call_id",
            how="left",
        )
        .select("tool", "arguments", "result", "loss_reduction")
    )
