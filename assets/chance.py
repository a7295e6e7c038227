"""The chance level of a shard: some of its calls scored with the results of others.

A table beside `filtered_calls`, with a fingerprint of its own: no threshold decides on it, so
another τ_f leaves it as it is. Does not choose the calls; `toolformer.chance_level` does.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import polars as pl

from assets.call_scoring import CallScoring
from assets.shard_stage import ShardStage
from assets.shard_texts import typed_frame
from dagster_project.fingerprints import Fingerprint
from toolformer.chance_level import chance_calls
from toolformer.filtering import FilterReason, decide
from toolformer.losses import ScoredCall

TABLE = "chance_calls"
# No τ_f is lower, so a change of it never needs a loss that was left out.
_PRUNING_THRESHOLD = 0.0
_SCORED = "scored"


def refresh_chance_calls(
    scoring: CallScoring,
    tool_name: str,
    fingerprint: Fingerprint,
    calls: Callable[[], Sequence[ScoredCall]],
    *,
    hold_device: Callable[[], object],
) -> str | None:
    """Make the chance sample of one tool unless it is there with the same fingerprint.

    Args:
        scoring: of the shard.
        tool_name: which tool.
        fingerprint: of the sample.
        calls: gives the tool's executed calls.
        hold_device: waits for the device of the model.

    Returns:
        `done` or `up to date`; None where the settings ask for no sample.
    """
    if not scoring.stage.settings.scoring.chance_calls:
        return None
    stage = dataclasses.replace(scoring.stage, table=TABLE)
    return stage.replace_if_stale(
        scoring.shard,
        stage.slice_name(tool_name),
        fingerprint,
        partial(_score, scoring, stage, tool_name, fingerprint, calls),
        hold_device=hold_device,
    )


def _score(
    scoring: CallScoring,
    stage: ShardStage,
    tool_name: str,
    fingerprint: Fingerprint,
    calls: Callable[[], Sequence[ScoredCall]],
) -> pl.DataFrame:
    settings = stage.settings
    sample = chance_calls(calls(), most=settings.scoring.chance_calls, seed=settings.sampling.seed)
    losses = scoring.score(
        tool_name,
        [each.call for each in sample],
        stage_name="chance_level",
        pruning_threshold=_PRUNING_THRESHOLD,
        full_losses=False,
        checkpoint=stage.checkpoint(scoring.shard, stage.slice_name(tool_name), fingerprint.digest),
    )
    rows = []
    for each in sample:
        of_call = losses[each.call.call_id]
        decision = decide(of_call, filtering_threshold=_PRUNING_THRESHOLD)
        is_scored = decision.reason in (FilterReason.KEPT, FilterReason.BELOW_THRESHOLD)
        rows.append(
            {
                "call_id": each.call.call_id,
                "shard": scoring.shard,
                "tool": tool_name,
                "other_call_id": each.other_call_id,
                "result": each.call.result,
                "loss_without_call": of_call.loss_without_call,
                "loss_call_without_result": of_call.loss_call_without_result,
                "loss_with_result": of_call.loss_with_result,
                "loss_reduction": decision.loss_reduction,
                "reason": _SCORED if is_scored else decision.reason.value,
                "pruning_threshold": _PRUNING_THRESHOLD,
                "precision": scoring.model.precision,
                "round": settings.sampling.round,
            }
        )
    return typed_frame(TABLE, rows)
