"""Scoring again in float32: the losses near a decision, of a bfloat16 model.

bfloat16 costs a third of float32 and moves a loss reduction by a few hundredths of a nat. So calls
are scored in bfloat16, and those whose reduction comes within `MARGIN` of the lowest threshold, or
above it, once more with a float32 copy of the same weights: whatever threshold is asked for later,
its decisions are those of float32. Calls that are wanted in float32 anyway have no first look.

One loss is off by far more: that of a text's first token, which is predicted from the start token
alone. Models put very large activations there, and bfloat16 loses what lies between them (half a
nat with the embedded model). It depends on the start token only, so that one float32 pass over one
token mends it for all texts.
"""

from collections.abc import Mapping, Sequence

from toolformer.filtering import Baseline, CallLosses, FilterReason, decide
from toolformer.forward.model import Model
from toolformer.forward.windows import Window
from toolformer.scoring.loss_form import LossForm
from toolformer.scoring.scored_call import ScoredCall, WindowKey

MARGIN = 0.125
"""In nats: three standard deviations of what bfloat16 does to a loss reduction of the embedded
model; 98 % of the calls that were measured moved by less (docs/measurements.md)."""


def start_token_losses(reference: Model) -> list[float]:
    """-log p(x | BOS) in nats for every token x of the vocabulary.

    Args:
        reference: the scoring model in float32.
    """
    return reference.losses_of_all([reference.bos_id])


def needs_second_look(
    losses: CallLosses, lowest_threshold: float, baseline: Baseline = Baseline.MINIMUM
) -> bool:
    """Whether the decision on a call of bfloat16 could be another in float32, at some threshold.

    Where a loss is missing, what is known is an upper bound of the reduction. Losses that are not
    finite are no decision of float32 either.

    Args:
        losses: losses of the first pass, pruned at `lowest_threshold - MARGIN`.
        lowest_threshold: that anybody can ask for, in nats.
    """
    threshold = lowest_threshold - MARGIN
    decision = decide(losses, filtering_threshold=threshold, baseline=baseline)
    return decision.is_kept or decision.reason is FilterReason.NOT_FINITE


def cut_windows(
    windows: Mapping[WindowKey, Window], calls: Sequence[ScoredCall], form: LossForm
) -> dict[WindowKey, Window]:
    """The windows of the calls, each up to the last token that carries weight for one of them.

    What stands behind changes no loss, the model being causal.
    """
    ends: dict[WindowKey, int] = {}
    for call in calls:
        ends[call.window] = max(ends.get(call.window, 0), call.position + len(form.weights))
    return {key: windows[key].up_to(end) for key, end in ends.items()}
