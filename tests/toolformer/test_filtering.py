import math

from hypothesis import assume, given
from hypothesis import strategies as st

from toolformer.filtering import CallLosses, FilterReason, decide, reaches

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


def pruned(full: CallLosses, pruning_threshold: float) -> CallLosses:
    """What is left of the losses when a bound below the threshold spares the rest."""
    with_result, call_only = full.loss_with_result, full.loss_call_without_result
    if not reaches(full.loss_without_call, pruning_threshold):
        with_result = call_only = None
    elif not reaches(full.loss_without_call - with_result, pruning_threshold):
        call_only = None
    return losses(full.loss_without_call, with_result, call_only, full.tokens_used)


@given(
    without=ANY_LOSS,
    with_result=ANY_LOSS,
    call_only=ANY_LOSS,
    pruning_threshold=THRESHOLD,
    above=st.floats(0, 3),
)
def test_pruned_losses_decide_as_all_losses_do(
    without, with_result, call_only, pruning_threshold, above
):
    full = losses(without, with_result, call_only)
    threshold = pruning_threshold + above
    decision = decide(full, filtering_threshold=threshold)
    sparing = decide(pruned(full, pruning_threshold), filtering_threshold=threshold)
    assert sparing.is_kept == decision.is_kept
    if sparing.loss_reduction is not None and decision.loss_reduction is not None:
        # A bound never hides a larger reduction.
        assert sparing.loss_reduction >= decision.loss_reduction


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
