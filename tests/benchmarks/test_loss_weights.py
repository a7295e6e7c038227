"""Weights of the tokens behind a call, compared by the marks of people."""

import pytest

from benchmarks.loss_weights import average_precision, measured, reduction_of, weights_of
from toolformer.explanation import CallExplanation, ExplainedToken
from toolformer.filtering import CallLosses


def explained(*tokens: tuple[str, float, float, float]) -> CallExplanation:
    """A call whose tokens have these log-probabilities without it, with it alone and with all."""
    shown = tuple(
        ExplainedToken(place, text, 0.0, without, alone, with_result, None)
        for place, (text, without, alone, with_result) in enumerate(tokens)
    )
    return CallExplanation(shown, CallLosses(0.0, 0.0, 0.0, len(shown)))


def test_content_weights_are_larger_on_numbers_and_names_and_sum_to_the_same():
    tokens = [" 24", " jars", " of", " Ann", "."]
    linear, content = weights_of(tokens, "linear"), weights_of(tokens, "content")
    assert content.sum() == pytest.approx(linear.sum()) == pytest.approx(1)
    assert content[0] / content[1] == pytest.approx(3 * linear[0] / linear[1])
    assert content[3] / content[4] == pytest.approx(3 * linear[3] / linear[4])
    assert weights_of(tokens[:2], "uniform").tolist() == [0.2, 0.2]


def test_the_smaller_loss_without_a_result_is_compared_with():
    call = explained((" 24", -3.0, -2.0, -0.5), (" jars", -1.0, -1.0, -1.0))
    assert reduction_of(call, "linear") == pytest.approx(1.5 / 3)
    assert reduction_of(call, "uniform") == pytest.approx(1.5 / 5)
    assert reduction_of(call, "content") > reduction_of(call, "linear")


def test_weights_are_compared_where_they_keep_as_many_marked_calls():
    is_marked = [True, False, True, False]
    found = measured({"linear": [2.0, 0.6, 0.3, 0.0], "uniform": [0.4, 0.3, 0.2, 0.1]}, is_marked)
    assert found["linear"]["as many as linear at 1"] == 1
    assert found["linear"]["as many as linear at 0.25"] == pytest.approx(2 / 3)
    assert found["uniform"]["average precision"] == average_precision([4, 3, 2, 1], is_marked)
