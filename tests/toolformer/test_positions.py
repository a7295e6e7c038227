import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.positions import choose_positions

PROBABILITIES = st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 1.0]) | st.floats(0, 1))


def test_vectors(vectors):
    assert len(vectors["positions"]) >= 6
    for case in vectors["positions"]:
        positions = choose_positions(
            case["inputs"]["p_api"],
            sampling_threshold=case["inputs"]["tau_s"],
            positions_per_text=case["inputs"]["k"],
        )
        assert positions == case["expected"]["positions"], case["id"]


@given(probabilities=PROBABILITIES, threshold=st.floats(0, 1), count=st.integers(0, 8))
def test_chosen_are_the_most_probable_ones_above_the_threshold(probabilities, threshold, count):
    chosen = choose_positions(probabilities, sampling_threshold=threshold, positions_per_text=count)
    assert chosen == sorted(set(chosen))
    assert all(probabilities[position] > threshold for position in chosen)
    above = [p for p, probability in enumerate(probabilities) if probability > threshold]
    assert len(chosen) == min(count, len(above))
    for left_out in set(above) - set(chosen):
        for position in chosen:
            # Equal ones: the earlier wins.
            assert (probabilities[position], left_out) > (probabilities[left_out], position)


@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.booleans())),
    count=st.integers(1, 5),
)
def test_positions_that_are_not_allowed_take_no_places(pairs, count):
    probabilities = [probability for probability, _ in pairs]
    allowed = [is_allowed for _, is_allowed in pairs]
    chosen = choose_positions(
        probabilities, sampling_threshold=0.1, positions_per_text=count, is_allowed=allowed
    )
    silenced = [p if is_allowed else 0.0 for p, is_allowed in pairs]
    assert chosen == choose_positions(silenced, sampling_threshold=0.1, positions_per_text=count)


@pytest.mark.parametrize("probability", [0.05, math.nan])
def test_exactly_the_threshold_and_nan_are_not_above_it(probability):
    chosen = choose_positions([probability], sampling_threshold=0.05, positions_per_text=5)
    assert chosen == []
