"""Losses of executed calls, and the decision which are kept (paper §2, "Filtering API Calls")."""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import dagster as dg
import polars as pl

from assets.calibration import Calibrator, calibration_metadata
from assets.chance import refresh_chance_calls
from assets.inputs import Input, Wanted
from assets.outputs import Made
from assets.shard_asset import shard_asset
from assets.shard_stage import NOT_SAMPLED, ShardReport, ShardStage, expected_errors, state_of
from assets.shard_texts import documents_of, typed_frame, windows_of
from assets.stage_costs import costs_of, store_cost
from dagster_project.fingerprints import (
    LOSSES_FINGERPRINT,
    LOSSES_PARTS,
    Fingerprint,
    chance_calls_fingerprint,
    filtered_calls_fingerprint,
    losses_fingerprint,
)
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.annotator import Annotator
from toolformer.calls import CallFormat
from toolformer.filtering import Baseline, CallLosses, FilterReason, decide, pruning_threshold
from toolformer.forward.precision import BFLOAT16, FLOAT32
from toolformer.loss_form import LossForm, Placement
from toolformer.loss_weights import window_weights
from toolformer.losses import ScoredCall
from toolformer.shard_scoring import ScoringParameters, ShardScoring
from toolformer.slice_losses import Contrast, SafetyBand, SliceLosses
from tools.protocol import ToolCall
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# What the second pass did, in the metadata of a slice.
RESCORING = "rescoring"
# Stand beside the losses too, so that statistics need no join.
_OF_CANDIDATE = ("call_id", "document_id", "window", "position", "proposed")


@shard_asset(kinds={"pytorch", "duckdb"}, deps=["executed_calls", "documents"])
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
    holder, chosen = language_model.holder(), stage.settings
    identity = annotator.identity
    hold_device = partial(holder.hold_device, chosen, stage.home)
    parameters = scoring_parameters(chosen)
    calibrator = Calibrator(stage, identity, hold_device)

    def make_shard(key: str, report: ShardReport) -> None:
        scoring = ShardScoring(
            load_model=partial(annotator.load, holder, chosen, stage.home),
            load_in=lambda precision: annotator.load_in(precision, holder, chosen, stage.home),
            cut_windows=lambda tokenizer: windows_of(
                documents_of(stage, key), tokenizer, window_tokens=chosen.corpus.window_tokens
            ),
            parameters=parameters,
            progress=lambda scored, tool_name: stage.progress(
                "scoring calls", detail=f"{key}, {tool_name}, {scored.replace('_', ' ')}"
            ),
        )
        report.slices.update(tools.unavailable)

        def inputs(name: str) -> tuple[Input, ...]:
            slice_name = stage.slice_name(name)
            return (
                stage.input("executed_calls", key, slice_name),
                stage.input("candidate_calls", key, slice_name),
                stage.input("documents", key, ALL),
            )

        def of_losses(executed: Input) -> Fingerprint:
            return losses_fingerprint(executed.fingerprint, chosen, identity)

        def wanted(name: str) -> Wanted:
            found = inputs(name)
            losses = of_losses(found[0]).digest
            return Wanted(filtered_calls_fingerprint(losses, chosen, name), found)

        def wanted_by_chance(name: str) -> Wanted:
            found = inputs(name)
            upstream = found[0].fingerprint
            fingerprint = chance_calls_fingerprint(upstream, chosen, identity)
            return Wanted(fingerprint, found)

        for name in tools.tools:
            if not stage.has_input("executed_calls", key, stage.slice_name(name)):
                report.slices[name] = NOT_SAMPLED
                continue
            # Read once, by whichever pass needs them first.
            calls = lru_cache(maxsize=1)(
                lambda _versions, name=name: calls_to_score(
                    stage.warehouse, key, name, round_number=chosen.sampling.round
                )
            )
            report.slices[name] = stage.replace_if_stale(
                key,
                stage.slice_name(name),
                partial(wanted, name),
                lambda looked_at, name=name, calls=calls: _filter(
                    stage,
                    scoring,
                    calibrator,
                    key,
                    name,
                    partial(calls, looked_at.versions),
                    of_losses(looked_at.inputs[0]),
                ),
                hold_device=hold_device,
            )
            if chosen.scoring.chance_calls:
                report.slices[f"{name}, chance level"] = refresh_chance_calls(
                    stage,
                    scoring,
                    key,
                    name,
                    partial(wanted_by_chance, name),
                    lambda looked_at, calls=calls: calls(looked_at.versions),
                    hold_device=hold_device,
                )
        _report_decisions(stage, key, report)
        if calibrator.found is not None:
            report.count(calibration_metadata(calibrator.found))

    try:
        return stage.run(make_shard)
    finally:
        holder.drop_copy()


def scoring_parameters(settings: Settings) -> ScoringParameters:
    """What the engine is told about scoring."""
    scoring = settings.scoring
    return ScoringParameters(
        call_format=CallFormat(
            empty_result_keeps_arrow=scoring.empty_result_keeps_arrow, separator=scoring.separator
        ),
        token_budget=scoring.token_budget,
        full_losses=scoring.full_losses,
        # Losses of float32 need no second look.
        is_rescored=scoring.rescoring and settings.language_model.precision != FLOAT32,
        form=LossForm(
            Placement(scoring.placement),
            window_weights(scoring.window_tokens, are_linear=scoring.window_weights == "linear"),
        ),
        baseline=Baseline(scoring.baseline),
    )


def _filter(
    stage: ShardStage,
    scoring: ShardScoring,
    calibrator: Calibrator,
    shard: str,
    tool_name: str,
    calls: Callable[[], Sequence[ScoredCall]],
    of_losses: Fingerprint,
) -> Made:
    """Decide on the calls of one tool, from stored losses where they are still good."""
    settings, losses_digest = stage.settings, of_losses.digest
    of_tool = settings.tools.of(tool_name)
    threshold, contrast_threshold = of_tool.filtering_threshold, of_tool.contrast_threshold
    pruning, baseline = pruning_threshold(threshold), scoring.parameters.baseline
    known = _stored_losses(stage, shard, tool_name, losses_digest, pruning, baseline)
    band = None
    if scoring.parameters.is_rescored and _are_in_bfloat16(known, calls, scoring):
        band = SafetyBand.around(
            threshold,
            width=calibrator.calibration(scoring, shard, tool_name).band,
            with_sweep=settings.scoring.rescore_sweep,
            baseline=baseline,
        )
    slice_name = stage.slice_name(tool_name)
    found = scoring.losses_of(
        tool_name,
        calls,
        pruning_threshold=pruning,
        band=band,
        contrast=None
        if contrast_threshold is None
        else Contrast(threshold, contrast_threshold, settings.sampling.seed, baseline),
        known=known,
        # A folder for each pass, below that of the slice, so that both go when the slice is there.
        checkpoint=lambda name, state: stage.checkpoint(
            shard, f"{slice_name}/{name}", f"{losses_digest} {state}"
        ),
    )
    for cost in found.costs:
        store_cost(stage, shard, tool_name, cost)
    metadata = {
        LOSSES_FINGERPRINT: losses_digest,
        LOSSES_PARTS: json.dumps(dict(of_losses.parts), sort_keys=True),
        **found.geometry,
    }
    if found.rescoring is not None:
        metadata[RESCORING] = json.dumps(found.rescoring)
    candidates = stage.warehouse.read_slice("candidate_calls", shard, slice_name)
    of_candidate = {
        row["call_id"]: row for row in candidates.select(_OF_CANDIDATE).iter_rows(named=True)
    }
    rows = []
    for call_id, of_call in found.losses.items():
        decision = decide(
            of_call,
            filtering_threshold=threshold,
            contrast_threshold=contrast_threshold,
            baseline=baseline,
        )
        rows.append(
            {
                **of_candidate[call_id],
                "shard": shard,
                "tool": tool_name,
                "loss_without_call": of_call.loss_without_call,
                "loss_call_without_result": of_call.loss_call_without_result,
                "loss_with_result": of_call.loss_with_result,
                "loss_with_foreign_result": of_call.loss_with_foreign_result,
                "foreign_call_id": None
                if of_call.loss_with_foreign_result is None
                else found.foreign_calls[call_id],
                "loss_reduction": decision.loss_reduction,
                "is_kept": decision.is_kept,
                "reason": decision.reason.value,
                "filtering_threshold": threshold,
                "contrast_threshold": contrast_threshold,
                "baseline": baseline.value,
                "pruning_threshold": found.pruning_threshold,
                "precision": found.precisions[call_id],
                "round": settings.sampling.round,
            }
        )
    return Made(typed_frame("filtered_calls", rows), metadata, state_of(found.geometry))


def _are_in_bfloat16(
    known: SliceLosses | None, calls: Callable[[], Sequence[ScoredCall]], scoring: ShardScoring
) -> bool:
    """Whether there are losses of bfloat16 to decide on, or will be."""
    if known is not None:
        return BFLOAT16 in known.precisions.values()
    # Without a call there is nothing to be uncertain about, and the measurement takes minutes.
    return bool(calls()) and scoring.model.precision == BFLOAT16


def _stored_losses(
    stage: ShardStage,
    shard: str,
    tool_name: str,
    losses_digest: str,
    pruning: float,
    baseline: Baseline,
) -> SliceLosses | None:
    """Losses of an earlier decision, if they cover everything that this one needs."""
    slice_name = stage.slice_name(tool_name)
    stored = stage.warehouse.slice_metadata("filtered_calls", shard, slice_name)
    if stage.force or stored is None or stored.get(LOSSES_FINGERPRINT) != losses_digest:
        return None
    rows = stage.warehouse.read_slice("filtered_calls", shard, slice_name)
    if rows.is_empty():
        return SliceLosses({}, {}, pruning)
    if not cover_a_decision(rows, pruning, baseline):
        return None
    stage.context.log.info(f"{shard}: deciding on {tool_name} from stored losses")
    return SliceLosses(
        losses={
            row["call_id"]: CallLosses(
                loss_without_call=row["loss_without_call"],
                loss_with_result=row["loss_with_result"],
                loss_call_without_result=row["loss_call_without_result"],
                # Only whether there is any text is asked of stored losses.
                tokens_used=int(row["reason"] != FilterReason.NO_TEXT_AFTER_POSITION),
                loss_with_foreign_result=row["loss_with_foreign_result"],
            )
            for row in rows.iter_rows(named=True)
        },
        precisions=dict(rows.select("call_id", "precision").iter_rows()),
        pruning_threshold=rows["pruning_threshold"][0],
        foreign_calls=dict(
            rows.filter(pl.col("foreign_call_id").is_not_null())
            .select("call_id", "foreign_call_id")
            .iter_rows()
        ),
    )


def cover_a_decision(rows: pl.DataFrame, pruning: float, baseline: Baseline) -> bool:
    """Whether the losses of a slice are all that a decision needs.

    Args:
        rows: of `filtered_calls`.
        pruning: the reduction below which the decision asks for no exact loss.
        baseline: of the decision.
    """
    if rows.is_empty():
        return True
    stored_pruning = rows["pruning_threshold"][0]
    if stored_pruning > pruning:
        return False
    return baseline is not Baseline.MINIMUM or not _lacks_third_losses(rows, stored_pruning)


def _lacks_third_losses(rows: pl.DataFrame, pruning: float) -> bool:
    """Whether losses of calls without their results are missing that no bound made needless.

    So it is where the other baseline did without them.
    """
    bound = pl.col("loss_without_call") - pl.col("loss_with_result")
    needed = rows.filter(bound.is_not_nan() & (bound >= pruning))
    return needed["loss_call_without_result"].null_count() > 0


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


def _report_decisions(stage: ShardStage, shard: str, report: ShardReport) -> None:
    rows = stage.rows_of("filtered_calls", shard)
    kept = rows.filter("is_kept")
    report.count({"scored": rows.height, "kept": kept.height})
    if rows.height:
        report.count({"kept share": round(kept.height / rows.height, 4)})
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
