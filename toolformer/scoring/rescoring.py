"""Scoring again in float32: the losses near a decision, of a bfloat16 model.

bfloat16 costs at most half of float32 and moves a loss reduction by a few hundredths of a nat. So
calls are scored in bfloat16, and those whose reduction comes within a band of the lowest threshold,
or above it, once more with a float32 copy of the same weights: whatever threshold is asked for
later, its decisions are those of float32. How wide the band is, and whether a first look in
bfloat16 spares anything, the calls of some texts tell, which are scored in both. Calls that are
wanted in float32 anyway have no first look.

One loss is off by far more: that of a text's first token, which is predicted from the start token
alone. Models put very large activations there, and bfloat16 loses what lies between them (half a
nat with the embedded model). It depends on the start token only, so that one float32 pass over one
token mends it for all texts.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from toolformer.filtering import Baseline, CallLosses, FilterReason, decide, reaches
from toolformer.forward.windows import Window, WindowKey
from toolformer.scoring.loss_form import LossForm
from toolformer.scoring.scored_call import ScoredCall

# Calls that are scored in both precisions, at least; and how many standard deviations of what
# bfloat16 does to them the band is wide.
_MEASURED_CALLS = 12
_DEVIATIONS = 3
# Of the calls of a first look so many may need a second one. With AVX512-BF16 a first look costs
# half of one in float32, with AMX a third.
_MOST_SECOND_LOOKS = 1 / 2


def calls_of_some_texts(calls: Sequence[ScoredCall]) -> list[ScoredCall]:
    """The calls of the first texts, which tell what bfloat16 does to a tool's calls.

    Whole texts, since to read a text costs more than one more call in it. None where they were most
    of the calls: a first look at the rest would cost more than it spares.

    Args:
        calls: of one tool and shard, in random order.
    """
    of_window: dict[WindowKey, list[ScoredCall]] = {}
    for call in calls:
        of_window.setdefault(call.window, []).append(call)
    some: list[ScoredCall] = []
    for window_calls in of_window.values():
        if len(some) >= _MEASURED_CALLS:
            break
        some += window_calls
    return some if 2 * len(some) < len(calls) else []


def band(
    rough: Mapping[str, CallLosses], exact: Mapping[str, CallLosses], baseline: Baseline
) -> float:
    """How far bfloat16 may move a loss reduction, in nats; inf where it gives no numbers.

    Three standard deviations of the calls that were scored in both precisions, or what it did to
    one of them.

    Args:
        rough: losses of bfloat16 by call, at least one and none left out.
    """
    moves = [_reduction(rough[key], baseline) - _reduction(exact[key], baseline) for key in rough]
    if not all(map(math.isfinite, moves)):
        return math.inf
    deviation = math.sqrt(sum(move**2 for move in moves) / len(moves))
    return max(_DEVIATIONS * deviation, *map(abs, moves))


def pays(
    exact: Collection[CallLosses], lowest_threshold: float, width: float, baseline: Baseline
) -> bool:
    """Whether a first look at calls like these leaves few enough of them for a second one.

    Args:
        exact: losses of float32, at least one call's and none left out.
        width: of the band, in nats.
    """
    near = sum(reaches(_reduction(losses, baseline), lowest_threshold - width) for losses in exact)
    return near <= _MOST_SECOND_LOOKS * len(exact)


def _reduction(losses: CallLosses, baseline: Baseline) -> float:
    found = decide(losses, filtering_threshold=-math.inf, baseline=baseline).loss_reduction
    return math.nan if found is None else found


def needs_second_look(
    losses: CallLosses, lowest_threshold: float, width: float, baseline: Baseline = Baseline.MINIMUM
) -> bool:
    """Whether the decision on a call of bfloat16 could be another in float32, at some threshold.

    Where a loss is missing, what is known is an upper bound of the reduction. Losses that are not
    finite are no decision of float32 either.

    Args:
        losses: losses of the first look, pruned at `lowest_threshold - width`.
        lowest_threshold: that anybody can ask for, in nats.
        width: of the band, in nats.
    """
    decision = decide(losses, filtering_threshold=lowest_threshold - width, baseline=baseline)
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
