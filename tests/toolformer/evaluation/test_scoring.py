import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.evaluation.scoring import (
    answered_number,
    normalised_words,
    score_lama,
    score_math,
    score_mlqa,
    score_qa,
)


@pytest.mark.parametrize(
    ("prediction", "gold", "is_correct"),
    [
        ("It is «PARIS»!", ["Paris"], True),
        ("New York is big", ["new york"], True),
        ("York, New England", ["New York"], False),
        ("New and York", ["New York"], False),
        ("it is in the New York", ["New York"], False),
        ("it is in New York", ["New York"], True),
        ("Lyonnais people", ["Lyon"], False),
        ("Lyon's people", ["Lyon"], False),
        ("The Hague", ["Hague"], True),
        ("Hague", ["The Hague"], False),
        ("in 1969 already", ["1968", "1969"], True),
        ("cafe\u0301", ["café"], True),
        ("the U.S. won", ["U.S."], True),
        ("a – b – c – d – Lyon", ["Lyon"], True),
        ("", ["Lyon"], False),
        ("anything at all", ["..."], False),
    ],
)
def test_words_are_compared_whole_in_order_and_without_punctuation(prediction, gold, is_correct):
    assert score_lama(prediction, gold) is is_correct


def test_answers_that_are_none_are_errors():
    with pytest.raises(ValueError, match="no accepted answers"):
        score_lama("Lyon", [])
    with pytest.raises(TypeError, match="sequence"):
        score_lama("Lyon", "Lyon")
    for gold in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="not a finite number"):
            score_math("1", gold)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("14", 14.0),
        ("They have 1,234,567.5 left.", 1234567.5),
        ("$12.50 each", 12.5),
        ("US$5", 5.0),
        ("-€3", -3.0),
        ("3 €", 3.0),
        ("−7 degrees", -7.0),
        ("9-5", 9.0),
        ("3,4 and 5", 3.0),
        ("H2O costs 8", 8.0),
        ("is .5", 0.5),
        ("14.", 14.0),
        ("25%", 25.0),
        ("12kg", 12.0),
        ("2 + 3 = 5, 6", 5.0),
        ("2 + 3 =5 = 6", 5.0),
        ("14 =", 14.0),
        ("x = ?", None),
        ("none", None),
        ("", None),
    ],
)
def test_the_number_that_counts_as_answer(text, number):
    assert answered_number(text) == number


def test_numbers_are_compared_with_a_tolerance():
    assert score_math("0.33333", 1 / 3)
    assert score_math("14.00009", 14)
    assert not score_math("14.0002", 14)


@given(st.text())
def test_any_output_can_be_scored_and_normalisation_is_stable(text):
    words = normalised_words(text)
    assert normalised_words(" ".join(words)) == words
    assert all(words)
    assert score_math(text, 1.0) in (True, False)


EDGES = st.text(alphabet=".,;:!?\"'()[]-–…«»“”$", max_size=3)


@pytest.mark.parametrize(("scorer", "limit"), [(score_lama, 5), (score_mlqa, 10), (score_qa, 20)])
@given(position=st.integers(0, 30), before=EDGES, after=EDGES)
def test_a_word_is_found_exactly_within_the_limit(scorer, limit, position, before, after):
    words = ["x"] * position + [f"{before}OSLO{after}"] + ["x"] * 3
    assert scorer(" ".join(words), ["Oslo"]) is (position < limit)
