import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.loss_weights import losses_of_positions, token_weights, weighted_loss

LOSSES = st.lists(st.floats(0, 100), max_size=12)


def numbers(values: list[object]) -> list[float]:
    return [-float(value) for value in values]


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


def test_vectors_of_the_losses(vectors):
    assert len(vectors["filter"]) >= 24
    for case in vectors["filter"]:
        names = {
            "logp_empty": "L_empty",
            "logp_call_only": "L_call_only",
            "logp_call_result": "L_plus",
        }
        for logged, wanted in names.items():
            (loss,) = losses_of_positions(
                numbers(case["inputs"][logged]), [case["inputs"]["position"]]
            )
            expected = float(case["expected"][wanted])
            assert loss == pytest.approx(expected, abs=1e-6), (case["id"], wanted)


@given(losses=LOSSES)
def test_a_loss_is_the_weighted_sum_of_five_tokens_without_renormalising(losses):
    literal = sum(max(0.0, 1 - 0.2 * t) / 3 * loss for t, loss in enumerate(losses))
    assert weighted_loss(losses) == pytest.approx(literal, abs=1e-9)


@given(losses=st.lists(st.floats(0, 50), max_size=20))
def test_the_window_of_a_position_begins_at_its_own_token(losses):
    positions = list(range(len(losses) + 1))
    expected = [weighted_loss(losses[position:]) for position in positions]
    assert losses_of_positions(losses, positions) == expected
    assert expected[-1] == 0.0


def test_losses_that_are_no_numbers_stay_visible():
    assert weighted_loss([0.5, math.inf]) == math.inf
    assert math.isnan(weighted_loss([0.5, math.nan, math.inf]))
