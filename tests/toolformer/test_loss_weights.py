import math

from hypothesis import given
from hypothesis import strategies as st

from toolformer.loss_weights import (
    losses_of_positions,
    token_weights,
    weighted_loss,
    window_weights,
)


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
