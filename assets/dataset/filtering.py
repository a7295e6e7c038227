"""Decides which calls are kept (paper §2, "Filtering API Calls")."""

from collections.abc import Sequence

import polars as pl

from assets.dataset.shard_run import PartitionRun
from assets.outputs import OutputRows
from assets.shard_report import ShardReport, ShardRows
from assets.stage import PER_TOOL, ShardStage
from warehouse.query import query_frames


def decide_calls(work: PartitionRun) -> OutputRows:
    """Losses and decisions; one row = one executed call, kept or with the reason why not.

    An SQL statement decides from `scored_calls`, so a new filtering or contrast threshold needs no
    model. The HTML page of the asset `report` shows calls in their texts. For kept calls, so does
    `toolformer sql "select text_before, call, text_after from kept_examples"`.
    """
    return _decide_together([work])[0]


def _decide_together(works: Sequence[PartitionRun]) -> list[OutputRows]:
    partition = works[0].partition
    decided = query_frames(
        "filtered_calls",
        {"scored_calls": pl.concat(work.read("scored_calls") for work in works)},
        tool=partition.tool_name,
        round=partition.settings.sampling.round,
        filtering_threshold=partition.tool_settings.filtering_threshold,
        contrast_threshold=partition.tool_settings.contrast_threshold,
    )
    of_shards = decided.partition_by("shard", as_dict=True)
    return [OutputRows(of_shards.get((work.partition.shard,), decided.clear())) for work in works]


def report_decisions(rows: ShardRows, report: ShardReport) -> None:
    decided = rows.of("filtered_calls")
    kept = decided.filter("is_kept")
    dropped = decided.height - kept.height
    report.count_flow({"calls in": decided.height, "kept": kept.height, "dropped": dropped})
    if decided.height:
        report.count({"kept share": round(kept.height / decided.height, 4)})
    report.count_reasons("dropped", decided.filter(~pl.col("is_kept")))
    for name, kept_calls in kept.group_by("tool").len().sort("tool").iter_rows():
        report.count({f"kept: {name}": kept_calls})
    results = rows.of("executed_calls").select("call_id", "result")
    arguments = rows.of("candidate_calls").select("call_id", "arguments")
    best = kept.sort("loss_reduction", descending=True).head(5)
    report.preview = (
        best.join(results, on="call_id", how="left")
        .join(arguments, on="call_id", how="left")
        .select("tool", "arguments", "result", "loss_reduction")
    )


FILTERED_CALLS = ShardStage(
    name="filtered_calls",
    version="4",
    kinds=("sql", "duckdb"),
    per=PER_TOOL,
    reads=("scored_calls",),
    settings=("tools.*.filtering_threshold", "tools.*.contrast_threshold"),
    compute=decide_calls,
    compute_batch=_decide_together,
    report=report_decisions,
)
