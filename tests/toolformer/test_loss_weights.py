import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.loss_weights import (
    losses_of_positions,
    token_weights,
    weighted_loss,
    window_weights,
)


def test_vectors_of_the_weights(vectors):
    for case in vectors["weights"]:
        if "fractions" in case["expected"]:
            places = case["inputs"]["t"]
            weights = token_weights(max(places) + 1)
            exact = [float(Fraction(text)) for text in case["expected"]["fractions"]]
            assert [weights[t] for t in places] == pytest.approx(exact, abs=1e-15)
        else:
            sums = [weighted_loss([1.0] * count) for count in case["inputs"]["tokens_left"]]
            assert sums == pytest.approx(case["expected"]["weight_sum"], abs=1e-6)


def test_weights_of_other_windows_fall_in_equal_steps_or_not_at_all():
    assert window_weights(5, are_linear=True) == tuple(token_weights(5))
    assert window_weights(2, are_linear=True) == (2 / 3, 1 / 3)
    assert window_weights(4, are_linear=False) == (0.25,) * 4


@given(losses=st.lists(st.floats(0, 50), max_size=20))
def test_the_window_of_a_position_begins_at_its_own_token(losses):
    positions = list(range(len(losses) + 1))
    expected = [weighted_loss(losses[position:]) for position in positions]
    assert losses_of_positions(losses, positions) == expected
    assert expected[-1] == 0.0


def test_losses_that_are_no_numbers_stay_visible():
    assert weighted_loss([0.5, math.inf]) == math.inf
    assert math.isnan(weighted_loss([0.5, math.nan, math.inf]))
