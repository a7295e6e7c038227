"""The chance level of a shard: some of its calls scored with the results of others.

A table beside `filtered_calls`, with a fingerprint of its own: no threshold decides on it, so
another τ_f leaves it as it is. Does not choose the calls; `toolformer.chance_level` does.
"""

import dataclasses
from collections.abc import Callable, Sequence

from assets.inputs import Wanted
from assets.outputs import Made
from assets.shard_stage import ShardStage
from assets.shard_texts import typed_frame
from assets.stage_costs import store_cost
from toolformer.chance_level import chance_calls
from toolformer.filtering import FilterReason, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.losses import ScoredCall
from toolformer.shard_scoring import ShardScoring
from toolformer.stage_cost import together

TABLE = "chance_calls"
# No τ_f is lower, so a change of it never needs a loss that was left out.
_PRUNING_THRESHOLD = 0.0
_SCORED = "scored"


def refresh_chance_calls(
    stage: ShardStage,
    scoring: ShardScoring,
    shard: str,
    tool_name: str,
    wanted: Callable[[], Wanted],
    calls: Callable[[Wanted], Sequence[ScoredCall]],
    *,
    hold_device: Callable[[], object],
) -> str:
    """Make the chance sample of one tool unless it is there with the same fingerprint.

    Args:
        stage: the one that filters.
        scoring: of the shard.
        shard, tool_name: whose calls.
        wanted: looks at what the sample is made of.
        calls: gives the tool's executed calls, of what was looked at.
        hold_device: waits for the device of the model.

    Returns:
        `done` or `up to date`.
    """
    beside = dataclasses.replace(stage, table=TABLE)
    slice_name, settings = beside.slice_name(tool_name), stage.settings

    def score(looked_at: Wanted) -> Made:
        sample = chance_calls(
            calls(looked_at), most=settings.scoring.chance_calls, seed=settings.sampling.seed
        )

        def checkpoint(name: str) -> Checkpoint:
            of = f"{looked_at.fingerprint.digest} {scoring.model.precision}"
            return beside.checkpoint(shard, f"{slice_name}/{name}", of)

        losses, cost = scoring.score(
            tool_name,
            [each.swapped.call for each in sample],
            stage="chance_level",
            pruning_threshold=_PRUNING_THRESHOLD,
            full_losses=False,
            checkpoint=checkpoint("swapped"),
        )
        decisions = {
            call_id: decide(
                of_call,
                filtering_threshold=_PRUNING_THRESHOLD,
                baseline=scoring.parameters.baseline,
            )
            for call_id, of_call in losses.items()
        }
        # Also where there is no contrast yet, so that setting one needs no model.
        reaching = [
            each.second.call
            for each in sample
            if each.second is not None and decisions[each.call_id].is_kept
        ]
        second_losses, second_cost = scoring.score_results(
            tool_name, reaching, stage="chance_level", checkpoint=checkpoint("second")
        )
        cost = together((cost, second_cost), candidates=len(sample))
        store_cost(stage, shard, tool_name, cost)
        rows = []
        for each in sample:
            of_call, decision = losses[each.call_id], decisions[each.call_id]
            is_scored = decision.reason in (FilterReason.KEPT, FilterReason.BELOW_THRESHOLD)
            rows.append(
                {
                    "call_id": each.call_id,
                    "shard": shard,
                    "tool": tool_name,
                    "other_call_id": each.swapped.other_call_id,
                    "result": each.swapped.call.result,
                    "second_call_id": each.second and each.second.other_call_id,
                    "loss_with_second_result": second_losses.get(each.call_id),
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
        return Made(typed_frame(TABLE, rows))

    return beside.replace_if_stale(shard, slice_name, wanted, score, hold_device=hold_device)
