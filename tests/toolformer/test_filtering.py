import math

from hypothesis import assume, given
from hypothesis import strategies as st

from toolformer.filtering import CallLosses, FilterReason, decide

LOSS = st.floats(0, 20)
ANY_LOSS = LOSS | st.sampled_from([math.inf, math.nan])
THRESHOLD = st.floats(-1, 5)


def losses(without, with_result, call_only, tokens_used=5) -> CallLosses:
    return CallLosses(
        loss_without_call=without,
        loss_with_result=with_result,
        loss_call_without_result=call_only,
        tokens_used=tokens_used,
    )


@given(with_result=LOSS, reduction=st.floats(0, 5))
def test_exactly_the_threshold_is_kept_and_a_millionth_less_is_not(with_result, reduction):
    values = losses(with_result + reduction, with_result, with_result + reduction)
    assert decide(values, filtering_threshold=reduction).is_kept
    below = decide(values, filtering_threshold=reduction + 1e-6)
    assert (below.is_kept, below.reason) == (False, FilterReason.BELOW_THRESHOLD)


@given(without=ANY_LOSS, with_result=ANY_LOSS, call_only=ANY_LOSS, threshold=THRESHOLD)
def test_losses_that_are_no_numbers_are_rejected_by_name(
    without, with_result, call_only, threshold
):
    assume(not all(map(math.isfinite, (without, with_result, call_only))))
    decision = decide(losses(without, with_result, call_only), filtering_threshold=threshold)
    assert (decision.is_kept, decision.reason) == (False, FilterReason.NOT_FINITE)
    assert decision.loss_reduction is None


def test_missing_losses_name_the_bound_that_decided():
    first = decide(losses(0.3, None, None), filtering_threshold=0.5)
    assert first.reason == FilterReason.LOSS_WITHOUT_CALL_BELOW_LOWEST_THRESHOLD
    assert first.loss_reduction == 0.3
    second = decide(losses(2.0, 1.75, None), filtering_threshold=0.5)
    assert second.reason == FilterReason.BOUND_BELOW_LOWEST_THRESHOLD
    assert second.loss_reduction == 0.25
    assert not first.is_kept
    assert not second.is_kept


def test_a_call_after_the_last_token_is_never_kept():
    decision = decide(losses(0.0, 0.0, 0.0, tokens_used=0), filtering_threshold=-1.0)
    assert (decision.is_kept, decision.reason) == (False, FilterReason.NO_TEXT_AFTER_POSITION)
