"""The decision whether a call is kept, with its reason (paper §2).

Pure functions on losses.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from toolformer.base.constants import THRESHOLD_TOLERANCE

# L_i⁻, what a call with its result has to be better than: the smaller of the losses without a
# result (the paper), or that without a call alone.
Baseline = Literal["minimum", "without_call"]


class FilterReason(StrEnum):
    """Why a call was kept or not."""

    KEPT = "kept"
    BELOW_THRESHOLD = "below_threshold"
    BELOW_CONTRAST = "below_contrast"
    NO_SWAPPED_RESULT = "no_swapped_result"
    LOSS_WITHOUT_CALL_BELOW_LOWEST_THRESHOLD = "loss_without_call_below_lowest_threshold"
    BOUND_BELOW_LOWEST_THRESHOLD = "bound_below_lowest_threshold"
    NOT_FINITE = "not_finite"
    NO_TEXT_AFTER_POSITION = "no_text_after_position"


@dataclass(frozen=True, slots=True)
class CallLosses:
    """The losses of one call, in nats; None where it was not needed.

    Attributes:
        loss_without_call: L_i(ε).
        loss_with_result: L_i⁺ = L_i(e(c, r)).
        loss_call_without_result: L_i(e(c, ε)).
        tokens_used: how many tokens after the position carry weight, 0 … 5 in the
            paper's form.
        loss_with_swapped_result: the same as L_i⁺ with the result of another call.
    """

    loss_without_call: float
    loss_with_result: float | None
    loss_call_without_result: float | None
    tokens_used: int
    loss_with_swapped_result: float | None = None


@dataclass(frozen=True, slots=True)
class FilterDecision:
    """Attributes: whether the call is kept, why or why not, and L_i⁻ - L_i⁺ in nats.

    Where a loss was not needed, `loss_reduction` is the upper bound that decided; None where it is
    not a number.
    """

    is_kept: bool
    reason: FilterReason
    loss_reduction: float | None


def reaches(value: float, threshold: float) -> bool:
    """Whether a loss reduction reaches a threshold, ties included; NaN never does."""
    return value >= threshold - THRESHOLD_TOLERANCE


def decide(
    losses: CallLosses, *, filtering_threshold: float, baseline: Baseline = "minimum"
) -> FilterDecision:
    """Keep a call iff L_i⁻ - L_i⁺ >= τ_f, where L_i⁻ = min(L_i(ε), L_i(e(c, ε))).

    Losses may be missing where an upper bound of the reduction decided already: L_i⁺ is not
    negative, so the reduction is at most L_i(ε); and it is at most L_i(ε) - L_i⁺.

    Args:
        filtering_threshold: τ_f in nats.
        baseline: what L_i⁻ is; L_i(ε) alone does without the third loss.
    """
    if losses.tokens_used == 0:
        return FilterDecision(False, FilterReason.NO_TEXT_AFTER_POSITION, 0.0)
    without_call, without_result = losses.loss_without_call, losses.loss_call_without_result
    if baseline == "without_call":
        without_result = without_call
    known = (without_call, losses.loss_with_result, without_result)
    if not all(math.isfinite(loss) for loss in known if loss is not None):
        return FilterDecision(False, FilterReason.NOT_FINITE, None)
    if losses.loss_with_result is None:
        reason = FilterReason.LOSS_WITHOUT_CALL_BELOW_LOWEST_THRESHOLD
        return FilterDecision(False, reason, without_call)
    if without_result is None:
        bound = without_call - losses.loss_with_result
        return FilterDecision(False, FilterReason.BOUND_BELOW_LOWEST_THRESHOLD, bound)
    loss_reduction = min(without_call, without_result) - losses.loss_with_result
    if not reaches(loss_reduction, filtering_threshold):
        return FilterDecision(False, FilterReason.BELOW_THRESHOLD, loss_reduction)
    return FilterDecision(True, FilterReason.KEPT, loss_reduction)
