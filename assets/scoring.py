"""The losses of executed calls, whatever threshold decides on them (paper §2)."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from assets.inputs import Wanted
from assets.outputs import Made
from assets.shard_asset import shard_asset
from assets.shard_stage import NOT_SAMPLED, ShardReport, ShardStage, expected_errors, state_of
from assets.shard_texts import documents_of, typed_frame, windows_of
from assets.stage_costs import costs_of, store_cost
from dagster_project.fingerprints import scored_calls_fingerprint
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.scoring import losses_wanted, scoring_parameters
from toolformer.losses import ScoredCall
from toolformer.shard_scoring import CallScore, ShardScoring
from tools.protocol import ToolCall
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Stand beside the losses too, so that statistics need no join.
_OF_CANDIDATE = ("call_id", "document_id", "window", "position", "proposed")


@shard_asset(kinds={"pytorch", "duckdb"}, deps=["executed_calls", "documents"])
def scored_calls(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """Losses of the executed calls; one row = one call with all its losses, by `call_id`.

    They are those of the model that sampled the calls: without the call, without its result, with
    its result, and, where a contrast or the chance level asks for it, with the result of another
    call. No threshold has a part in them but `scoring.lowest_threshold`, below which further losses
    are left out.
    """
    stage = ShardStage.open(context, "scored_calls", settings, warehouse)
    with expected_errors():
        tools = toolbox.open(stage.settings, stage.home)
        annotator = Annotator.of(stage.settings, stage.home)
    holder, chosen = language_model.holder(), stage.settings

    def make_shard(key: str, report: ShardReport) -> None:
        scoring = ShardScoring(
            load_in=lambda precision: annotator.load(
                holder, chosen, stage.home, precision=precision
            ),
            cut_windows=lambda tokenizer: windows_of(
                documents_of(stage, key), tokenizer, window_tokens=chosen.corpus.window_tokens
            ),
            parameters=scoring_parameters(chosen),
            wanted=losses_wanted(chosen),
            progress=lambda scored, tool_name: stage.progress(
                "scoring calls", detail=f"{key}, {tool_name}, {scored.replace('_', ' ')}"
            ),
        )
        report.slices.update(tools.unavailable)
        for name in tools.tools:
            report.slices[name] = (
                stage.replace_if_stale(
                    key,
                    stage.slice_name(name),
                    partial(_wanted, stage, annotator.identity, key, name),
                    partial(_score, stage, scoring, key, name),
                    hold_device=partial(holder.hold_device, chosen, stage.home),
                )
                if stage.has_input("executed_calls", key, stage.slice_name(name))
                else NOT_SAMPLED
            )
        rows = stage.rows_of("scored_calls", key)
        report.count({"scored": rows.height})
        report.count({"scored in float32": rows.filter(pl.col("precision") == "float32").height})
        report.count({"chance sample": rows.filter("is_in_chance_sample").height})
        report.count(costs_of(stage, key, "scoring"))
        report.preview_each_tool(
            rows.select("tool", "loss_without_call", "loss_call_without_result", "loss_with_result")
        )

    try:
        return stage.run(make_shard)
    finally:
        holder.drop_copy()


def _wanted(stage: ShardStage, model: str, shard: str, tool_name: str) -> Wanted:
    slice_name = stage.slice_name(tool_name)
    executed = stage.input("executed_calls", shard, slice_name)
    return Wanted(
        scored_calls_fingerprint(executed.fingerprint, stage.settings, model),
        (
            executed,
            stage.input("candidate_calls", shard, slice_name),
            stage.input("documents", shard, ALL),
        ),
    )


def _score(
    stage: ShardStage, scoring: ShardScoring, shard: str, tool_name: str, wanted: Wanted
) -> Made:
    settings, slice_name = stage.settings, stage.slice_name(tool_name)
    calls = calls_to_score(stage.warehouse, shard, tool_name, round_number=settings.sampling.round)
    tool_scores = scoring.score(
        tool_name,
        calls,
        # A folder for each pass, below that of the slice, so that all go when the slice is there.
        lambda name, state: stage.checkpoint(
            shard, f"{slice_name}/{name}", f"{wanted.fingerprint.digest} {state}"
        ),
    )
    for cost in tool_scores.costs:
        store_cost(stage, shard, tool_name, cost)
    candidates = stage.warehouse.read_slice("candidate_calls", shard, slice_name)
    rows = [
        {
            **row,
            **_columns(tool_scores.scores[row["call_id"]]),
            "shard": shard,
            "tool": tool_name,
            "lowest_threshold": settings.scoring.lowest_threshold,
            "baseline": settings.scoring.baseline,
            "round": settings.sampling.round,
        }
        for row in candidates.select(_OF_CANDIDATE).iter_rows(named=True)
        if row["call_id"] in tool_scores.scores
    ]
    frame = typed_frame("scored_calls", rows)
    return Made(frame, tool_scores.geometry, state_of(tool_scores.geometry))


def _columns(score: CallScore) -> Mapping[str, Any]:
    columns = asdict(score)
    return {**columns.pop("losses"), **columns}


def calls_to_score(
    warehouse: Warehouse, shard: str, tool_name: str, *, round_number: int
) -> list[ScoredCall]:
    """The calls of one tool that have a result, in the order of the candidates."""
    slice_name = name_in_round(round_number, tool_name)
    candidates = warehouse.read_slice("candidate_calls", shard, slice_name)
    executed = warehouse.read_slice("executed_calls", shard, slice_name)
    # Left join: the order of the results is that of the candidates, the same in every run.
    calls = executed.filter(pl.col("status") == "executed").join(
        candidates.select("call_id", "document_id", "window", "position", "arguments"),
        on="call_id",
        how="left",
        maintain_order="left",
    )
    return [
        ScoredCall(
            call_id=row["call_id"],
            window=(row["document_id"], row["window"]),
            position=row["position"],
            call=ToolCall(tool_name, row["arguments"]),
            result=row["result"],
        )
        for row in calls.iter_rows(named=True)
    ]
