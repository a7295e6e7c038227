"""Losses of executed calls, and the decision which are kept (paper §2, "Filtering API Calls")."""

import time
from collections.abc import Mapping
from functools import partial

import dagster as dg
import polars as pl

from assets.shard_stage import NOT_SAMPLED, ShardReport, ShardStage, expected_errors
from assets.shard_texts import documents_of, typed_frame, windows_of
from assets.stage_costs import costs_of, store_cost
from dagster_project.fingerprints import (
    CODE_VERSIONS,
    LOSSES_FINGERPRINT,
    filtered_calls_fingerprint,
    losses_fingerprint,
)
from dagster_project.metadata import table_metadata
from dagster_project.partitions import SHARDS, SHARDS_PER_RUN
from dagster_project.resources.annotator import Annotator
from dagster_project.resources.language_model import LanguageModelResource, precision_of
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from toolformer.calls import CallFormat
from toolformer.filtering import CallLosses, decide, pruning_threshold
from toolformer.losses import ScoredCall, TextLosses, score_calls
from tools.protocol import Document, ToolCall


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
    alone decides again from the stored losses.
    """
    stage = ShardStage.open(context, "filtered_calls", settings, warehouse)
    with expected_errors():
        tools = toolbox.open(stage.settings, stage.home)
        annotator = Annotator.of(stage.settings, stage.home)
    precision = precision_of(stage.settings)

    def make_shard(key: str, report: ShardReport) -> None:
        scorer = _ShardScorer(stage, annotator, language_model, key)
        report.mark_unavailable(tools.unavailable)
        for name in tools.tools:
            upstream = stage.stored_fingerprint("executed_calls", key, stage.slice_name(name))
            if upstream is None:
                report.slices[name] = NOT_SAMPLED
                continue
            losses = losses_fingerprint(upstream, stage.settings, annotator.identity, precision)
            report.slices[name] = stage.replace_if_stale(
                key,
                stage.slice_name(name),
                filtered_calls_fingerprint(losses, stage.settings, name),
                partial(scorer.decide, name, losses),
                extra_metadata={LOSSES_FINGERPRINT: losses},
                hold_device=lambda: language_model.hold_device(stage.settings, stage.home),
            )
        _report_decisions(stage, key, report)

    return stage.run(make_shard)


class _ShardScorer:
    """Scores the calls of one shard; texts are read and scored without calls once for all tools."""

    def __init__(
        self,
        stage: ShardStage,
        annotator: Annotator,
        language_model: LanguageModelResource,
        shard: str,
    ):
        self._stage = stage
        self._annotator = annotator
        self._language_model = language_model
        self._shard = shard
        self._documents: dict[str, Document] | None = None
        self._text_losses: TextLosses | None = None

    def decide(self, tool_name: str, losses_digest: str) -> pl.DataFrame:
        """Rows of `filtered_calls`, from stored losses where they are still good."""
        threshold = self._stage.settings.tools.of(tool_name).filtering_threshold
        stored = self._stored_losses(tool_name, losses_digest, pruning_threshold(threshold))
        if stored is None:
            losses, precision = self._score(tool_name, losses_digest, pruning_threshold(threshold))
            pruning = pruning_threshold(threshold)
        else:
            losses, precision, pruning = stored
        rows = []
        for call_id, of_call in losses.items():
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
                    "pruning_threshold": pruning,
                    "precision": precision,
                    "round": self._stage.settings.sampling.round,
                }
            )
        return typed_frame("filtered_calls", rows)

    def _stored_losses(
        self, tool_name: str, losses_digest: str, pruning: float
    ) -> tuple[Mapping[str, CallLosses], str, float] | None:
        """Losses of an earlier decision, if they cover everything that this one needs."""
        stage, slice_name = self._stage, self._stage.slice_name(tool_name)
        stored = stage.warehouse.slice_metadata("filtered_calls", self._shard, slice_name)
        if stage.force or stored is None or stored.get(LOSSES_FINGERPRINT) != losses_digest:
            return None
        rows = stage.warehouse.read_slice("filtered_calls", self._shard, slice_name)
        if rows.is_empty():
            return {}, "", pruning
        stored_pruning = rows["pruning_threshold"][0]
        if stored_pruning > pruning:
            return None
        stage.context.log.info(f"{self._shard}: deciding on {tool_name} from stored losses")
        return (
            {
                row["call_id"]: CallLosses(
                    loss_without_call=row["loss_without_call"],
                    loss_with_result=row["loss_with_result"],
                    loss_call_without_result=row["loss_call_without_result"],
                    # Only whether there is any text is asked of stored losses.
                    tokens_used=int(row["reason"] != "no_text_after_position"),
                )
                for row in rows.iter_rows(named=True)
            },
            rows["precision"][0],
            stored_pruning,
        )

    def _score(
        self, tool_name: str, losses_digest: str, pruning: float
    ) -> tuple[Mapping[str, CallLosses], str]:
        stage, settings = self._stage, self._stage.settings
        calls = _calls_to_score(stage, self._shard, tool_name)
        model = self._annotator.load(self._language_model.holder(), settings, stage.home)
        if self._documents is None:
            self._documents = documents_of(stage, self._shard)
        windows = list(
            windows_of(
                self._documents, model.tokenizer, window_tokens=settings.corpus.window_tokens
            )
        )
        budget = settings.scoring.token_budget
        if self._text_losses is None:
            self._text_losses = TextLosses(model, windows, token_budget=budget)
        began, fed_before = time.monotonic(), model.tokens_fed
        losses = score_calls(
            model,
            {(window.document_id, window.index): window for window in windows},
            self._text_losses,
            calls,
            call_format=call_format(stage),
            pruning_threshold=pruning,
            full_losses=settings.scoring.full_losses,
            token_budget=budget,
            checkpoint=stage.checkpoint(
                self._shard, stage.slice_name(tool_name), f"{losses_digest} {pruning}"
            ),
            progress=stage.progress(f"{self._shard}: scoring {tool_name}"),
        )
        store_cost(
            stage,
            self._shard,
            tool_name,
            "scoring",
            candidates=len(calls),
            tokens_fed=model.tokens_fed - fed_before,
            seconds=time.monotonic() - began,
            model=model,
        )
        return losses, model.precision


def call_format(stage: ShardStage) -> CallFormat:
    """How calls are written in front of a text."""
    scoring = stage.settings.scoring
    return CallFormat(
        empty_result_keeps_arrow=scoring.empty_result_keeps_arrow, separator=scoring.separator
    )


def _calls_to_score(stage: ShardStage, shard: str, tool_name: str) -> list[ScoredCall]:
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
    reasons = rows.filter(~pl.col("is_kept")).group_by("reason").len()
    report.count({f"dropped: {row['reason']}": row["len"] for row in reasons.iter_rows(named=True)})
    for name, of_tool in kept.group_by("tool"):
        report.count({f"kept: {name[0]}": of_tool.height})
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
