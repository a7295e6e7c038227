"""Decides whether a call is kept, given its losses, and gives the reason (paper §2)."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from toolformer.base.constants import THRESHOLD_TOLERANCE

# How to compute L_i⁻, the loss that a call with its result must improve on: as the minimum of the
# losses without the call and without the result (as in the paper), or as the loss without the call.
Baseline = Literal["minimum", "without_call"]


class FilterReason(StrEnum):
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
    """Losses of one call in nats; a loss is None if the decision did not need it.

    Attributes:
        loss_without_call: L_i(ε).
        loss_with_result: L_i⁺ = L_i(e(c, r)).
        loss_call_without_result: L_i(e(c, ε)).
        tokens_used: number of tokens after the position that carry weight, 0 … 5 in the paper.
        loss_with_swapped_result: L_i⁺ with the result of another call.
    """

    loss_without_call: float
    loss_with_result: float | None
    loss_call_without_result: float | None
    tokens_used: int
    loss_with_swapped_result: float | None = None


@dataclass(frozen=True, slots=True)
class FilterDecision:
    """Whether a call is kept, why, and L_i⁻ - L_i⁺ in nats (None if it is not finite).

    If a loss is None, `loss_reduction` is an upper bound that is already below the threshold.
    """

    is_kept: bool
    reason: FilterReason
    loss_reduction: float | None


def reaches(value: float, threshold: float) -> bool:
    """Return whether a loss reduction reaches a threshold; a tie does, NaN never does."""
    return value >= threshold - THRESHOLD_TOLERANCE


def decide(
    losses: CallLosses, *, filtering_threshold: float, baseline: Baseline = "minimum"
) -> FilterDecision:
    """Keep a call iff L_i⁻ - L_i⁺ >= τ_f, where L_i⁻ = min(L_i(ε), L_i(e(c, ε))).

    `filtering_threshold` is τ_f in nats. A loss may be None if an upper bound of the reduction is
    already below all thresholds. The bounds are L_i(ε) - L_i⁺ and, since L_i⁺ is not negative,
    L_i(ε).
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
