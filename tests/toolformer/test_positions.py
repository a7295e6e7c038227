import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import byte_tokenizer
from toolformer.forward.windows import split_into_windows
from toolformer.positions import choose_positions, proposed_positions
from tools.protocol import Proposal

PROBABILITIES = st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 1.0]) | st.floats(0, 1))


@given(
    probabilities=PROBABILITIES,
    threshold=st.floats(0, 1),
    count=st.integers(0, 8),
    forbidden=st.sets(st.integers(0, 8)),
)
def test_chosen_are_the_most_probable_allowed_ones_above_the_threshold(
    probabilities, threshold, count, forbidden
):
    chosen = choose_positions(
        probabilities,
        sampling_threshold=threshold,
        positions_per_text=count,
        is_allowed=[position not in forbidden for position in range(len(probabilities))],
    )
    assert chosen == sorted(set(chosen))
    above = [
        position
        for position, probability in enumerate(probabilities)
        if probability > threshold and position not in forbidden
    ]
    assert set(chosen) <= set(above)
    assert len(chosen) == min(count, len(above))
    for left_out in set(above) - set(chosen):
        for position in chosen:
            # Equal ones: the earlier wins.
            assert (probabilities[position], left_out) > (probabilities[left_out], position)


@pytest.mark.parametrize("probability", [0.05, math.nan])
def test_exactly_the_threshold_and_nan_are_not_above_it(probability):
    chosen = choose_positions([probability], sampling_threshold=0.05, positions_per_text=5)
    assert chosen == []


def literal_position(text: str, tokens: list[tuple[int, int]], offset: int) -> int:
    """The token that holds the blank in front of a place, or the place where there is none."""
    place = offset - 1 if text[:offset].endswith(" ") else offset
    return next(n for n, (start, end) in enumerate(tokens) if start <= place < end)


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    places=st.lists(st.tuples(st.integers(0, 60), st.none() | st.sampled_from("abc"))),
    letters=st.randoms(use_true_random=False),
    start=st.integers(0, 5),
)
def test_proposed_positions_equal_the_literal_ones(lengths, places, letters, start):
    text = "".join(letters.choice("x  ") for _ in range(sum(lengths)))
    ends = list(itertools.accumulate(lengths))
    tokens = list(zip([0, *ends[:-1]], ends, strict=True))
    proposals = [Proposal(*place) for place in sorted(places, key=lambda place: place[0])]
    expected = {}
    for each in proposals:
        if start <= each.offset < start + len(text):
            position = literal_position(text, tokens, each.offset - start)
            expected[position] = expected.get(position) or each.arguments
    found = proposed_positions(
        proposals, start=start, text=text, offsets=[token[0] for token in tokens]
    )
    assert found == expected
    assert list(found) == sorted(found)


def test_a_place_inside_a_character_takes_the_token_that_begins_it():
    text = "à é 1"
    (window,) = split_into_windows("d", text, byte_tokenizer(), window_tokens=16)
    assert window.offsets == (0, None, 1, 2, None, 3, 4)
    for offset, position in ((0, 0), (1, 2), (2, 2), (3, 5), (4, 5)):
        found = proposed_positions([Proposal(offset)], start=0, text=text, offsets=window.offsets)
        assert found == {position: None}
    assert proposed_positions([Proposal(0)], start=0, text="x", offsets=[None]) == {}
