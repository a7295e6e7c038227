import math

from toolformer.loss_weights import weighted_loss, window_weights


def test_weights_of_other_windows_fall_in_equal_steps_or_not_at_all():
    assert window_weights(2, are_linear=True) == (2 / 3, 1 / 3)
    assert window_weights(4, are_linear=False) == (0.25,) * 4


def test_losses_that_are_no_numbers_stay_visible():
    assert weighted_loss([0.5, math.inf]) == math.inf
    assert math.isnan(weighted_loss([0.5, math.nan, math.inf]))
