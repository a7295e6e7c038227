"""Losses of executed calls, and the decision which are kept (paper §2, "Filtering API Calls")."""

from functools import partial

import dagster as dg
import polars as pl

from assets.calibration import Calibrator, calibration_metadata
from assets.call_scoring import CallScoring
from assets.chance import refresh_chance_calls
from assets.rescoring import SafetyBand, SliceLosses
from assets.shard_stage import NOT_SAMPLED, ShardReport, ShardStage, expected_errors
from assets.shard_texts import typed_frame
from assets.stage_costs import costs_of
from dagster_project.fingerprints import (
    CODE_VERSIONS,
    LOSSES_FINGERPRINT,
    chance_calls_fingerprint,
    filtered_calls_fingerprint,
    losses_fingerprint,
)
from dagster_project.metadata import table_metadata
from dagster_project.partitions import SHARDS, SHARDS_PER_RUN
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.model_holder import precision_of
from toolformer.filtering import CallLosses, decide, pruning_threshold
from toolformer.forward.geometry import geometry_metadata
from toolformer.losses import ScoredCall
from tools.protocol import ToolCall


@dg.asset(
    group_name="build_dataset",
    kinds={"pytorch", "duckdb"},
    partitions_def=SHARDS,
    deps=["executed_calls", "documents"],
    backfill_policy=dg.BackfillPolicy.multi_run(SHARDS_PER_RUN),
    code_version=CODE_VERSIONS["filtered_calls"],
    metadata=table_metadata("filtered_calls"),
)
def filtered_calls(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """Losses and decisions; one row = one executed call, kept or with the reason why not.

    The losses are those of the model that sampled the calls. A change of the filtering threshold
    alone decides again from the stored losses; with a bfloat16 model, calls that are uncertain at
    the new threshold are scored again in float32.
    """
    stage = ShardStage.open(context, "filtered_calls", settings, warehouse)
    with expected_errors():
        tools = toolbox.open(stage.settings, stage.home)
        annotator = Annotator.of(stage.settings, stage.home)
    precision = precision_of(stage.settings)
    calibrator = Calibrator(annotator.identity, precision)

    def hold_device() -> str:
        return language_model.hold_device(stage.settings, stage.home)

    def make_shard(key: str, report: ShardReport) -> None:
        scoring = CallScoring(stage, annotator, language_model, key)
        scorer = _ShardScorer(scoring, calibrator)
        report.mark_unavailable(tools.unavailable)
        for name in tools.tools:
            upstream = stage.stored_fingerprint("executed_calls", key, stage.slice_name(name))
            if upstream is None:
                report.slices[name] = NOT_SAMPLED
                continue
            losses = losses_fingerprint(upstream, stage.settings, annotator.identity, precision)
            metadata = {LOSSES_FINGERPRINT: losses}
            report.slices[name] = stage.replace_if_stale(
                key,
                stage.slice_name(name),
                filtered_calls_fingerprint(losses, stage.settings, name),
                partial(scorer.decide, name, losses, metadata),
                extra_metadata=metadata,
                hold_device=hold_device,
            )
            state = refresh_chance_calls(
                scoring,
                name,
                chance_calls_fingerprint(upstream, stage.settings, annotator.identity, precision),
                partial(calls_to_score, stage, key, name),
                hold_device=hold_device,
            )
            if state is not None:
                report.slices[f"{name}, chance level"] = state
        _report_decisions(stage, key, report)
        if calibrator.found is not None:
            report.count(calibration_metadata(calibrator.found))

    try:
        return stage.run(make_shard)
    finally:
        language_model.drop_reference()


class _ShardScorer:
    """Decides on the calls of one shard, from stored losses where they are still good."""

    def __init__(self, scoring: CallScoring, calibrator: Calibrator):
        self._stage = scoring.stage
        self._shard = scoring.shard
        self._scoring = scoring
        self._calibrator = calibrator

    def decide(self, tool_name: str, losses_digest: str, metadata: dict[str, str]) -> pl.DataFrame:
        """Rows of `filtered_calls`; what is to be stored with them is put into `metadata`."""
        settings = self._stage.settings
        threshold = settings.tools.of(tool_name).filtering_threshold
        pruning = pruning_threshold(threshold)
        found = self._stored_losses(tool_name, losses_digest, pruning)
        calibration = self._calibrator.calibration(self._scoring, tool_name)
        if calibration is None:
            found = found or self._score(tool_name, losses_digest, pruning, metadata)
        else:
            band = SafetyBand.around(
                threshold, calibration, with_sweep=settings.scoring.rescore_sweep
            )
            found = band.score_again(
                self._scoring,
                tool_name,
                found
                or self._score(
                    tool_name, losses_digest, band.first_pass_pruning(pruning), metadata
                ),
                partial(calls_to_score, self._stage, self._shard, tool_name),
                digest=losses_digest,
                metadata=metadata,
            )
        rows = []
        for call_id, of_call in found.losses.items():
            decision = decide(of_call, filtering_threshold=threshold)
            rows.append(
                {
                    "call_id": call_id,
                    "shard": self._shard,
                    "tool": tool_name,
                    "loss_without_call": of_call.loss_without_call,
                    "loss_call_without_result": of_call.loss_call_without_result,
                    "loss_with_result": of_call.loss_with_result,
                    "loss_reduction": decision.loss_reduction,
                    "is_kept": decision.is_kept,
                    "reason": decision.reason.value,
                    "filtering_threshold": threshold,
                    "pruning_threshold": found.pruning_threshold,
                    "precision": found.precisions[call_id],
                    "round": settings.sampling.round,
                }
            )
        return typed_frame("filtered_calls", rows)

    def _stored_losses(
        self, tool_name: str, losses_digest: str, pruning: float
    ) -> SliceLosses | None:
        """Losses of an earlier decision, if they cover everything that this one needs."""
        stage, slice_name = self._stage, self._stage.slice_name(tool_name)
        stored = stage.warehouse.slice_metadata("filtered_calls", self._shard, slice_name)
        if stage.force or stored is None or stored.get(LOSSES_FINGERPRINT) != losses_digest:
            return None
        rows = stage.warehouse.read_slice("filtered_calls", self._shard, slice_name)
        if rows.is_empty():
            return SliceLosses({}, {}, pruning)
        stored_pruning = rows["pruning_threshold"][0]
        if stored_pruning > pruning:
            return None
        stage.context.log.info(f"{self._shard}: deciding on {tool_name} from stored losses")
        return SliceLosses(
            losses={
                row["call_id"]: CallLosses(
                    loss_without_call=row["loss_without_call"],
                    loss_with_result=row["loss_with_result"],
                    loss_call_without_result=row["loss_call_without_result"],
                    # Only whether there is any text is asked of stored losses.
                    tokens_used=int(row["reason"] != "no_text_after_position"),
                )
                for row in rows.iter_rows(named=True)
            },
            precisions=dict(rows.select("call_id", "precision").iter_rows()),
            pruning_threshold=stored_pruning,
        )

    def _score(
        self, tool_name: str, losses_digest: str, pruning: float, metadata: dict[str, str]
    ) -> SliceLosses:
        stage = self._stage
        checkpoint = stage.checkpoint(
            self._shard, stage.slice_name(tool_name), f"{losses_digest} {pruning}"
        )
        losses = self._scoring.score(
            tool_name,
            calls_to_score(stage, self._shard, tool_name),
            stage_name="scoring",
            pruning_threshold=pruning,
            full_losses=stage.settings.scoring.full_losses,
            checkpoint=checkpoint,
        )
        metadata.update(geometry_metadata(checkpoint))
        precision = self._scoring.model.precision
        return SliceLosses(losses, dict.fromkeys(losses, precision), pruning)


def calls_to_score(stage: ShardStage, shard: str, tool_name: str) -> list[ScoredCall]:
    """The calls of one tool that have a result, in the order of the candidates."""
    slice_name = stage.slice_name(tool_name)
    candidates = stage.warehouse.read_slice("candidate_calls", shard, slice_name)
    executed = stage.warehouse.read_slice("executed_calls", shard, slice_name)
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


def _report_decisions(stage: ShardStage, shard: str, report: ShardReport) -> None:
    rows = stage.rows_of("filtered_calls", shard)
    kept = rows.filter("is_kept")
    report.count({"scored": rows.height, "kept": kept.height})
    report.count_reasons("dropped", rows.filter(~pl.col("is_kept")))
    for name, of_tool in kept.group_by("tool"):
        report.count({f"kept: {name[0]}": of_tool.height})
    report.count({"decided in float32": rows.filter(pl.col("precision") == "float32").height})
    report.count(costs_of(stage, shard, "scoring"))
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
