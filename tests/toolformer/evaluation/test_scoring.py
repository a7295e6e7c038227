from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.evaluation.scoring import (
    answered_number,
    contains_answer,
    is_number_right,
    is_number_rounded,
    last_number,
    normalised_words,
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
    assert contains_answer(prediction, gold, first_words=5) is is_correct


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
        ("3, 4 and 5", 3.0),
        ("3,4 and 5", None),
        ("5 200 ml bottles", None),
        ("H2O costs 8", 8.0),
        ("is .5", 0.5),
        ("14.", 14.0),
        ("25%", 25.0),
        ("12kg", 12.0),
        ("2 + 3 = 5, 6", 5.0),
        ("2 + 3 =5 = 6", 5.0),
        ("14 =", 14.0),
        ("x = ?", None),
        ("= 3/4", None),
        ("2 1/2 cups", None),
        ("2 and 1/2 cups", None),
        ("48/2 or 24", None),
        ("at 1:30", None),
        ("12/25/2020", None),
        ("3⁄4", None),
        ("48 / 2 or 24", 48.0),
        ("60 km/2 h", 60.0),
        ("6: 3 each", 6.0),
        ("none", None),
        ("", None),
    ],
)
def test_the_number_that_counts_as_answer(text, number):
    assert answered_number(text) == number


@pytest.mark.parametrize(
    ("output", "gold", "rule"),
    [
        ("5 / 8 = 0.63", "0.625", "rounded"),
        ("0.625", "0.625", "equal"),
        ("0.43", "0.428571", "rounded"),
        ("0.429", "0.428571", "rounded"),
        ("-0.06", "-0.0625", "rounded"),
        ("0.62", "0.625", None),
        ("0.6", "0.625", None),
        ("0.4285", "0.428571", "equal"),
        ("0.4284", "0.428571", None),
        ("1.26", "1.25", None),
        ("1.3", "1.25", None),
        ("62", "61.9", None),
        ("0", "0.004", None),
        ("0.00", "0.004", "rounded"),
        ("100.00", "100.004", "rounded"),
        ("63.00", "62.999", "rounded"),
        ("0.00", "-0.001", "rounded"),
        ("63.0", "62.999", None),
        ("0", "0.0004", None),
        ("1", "0.9996", None),
        ("100", "100.004", None),
        ("63", "62.999", None),
        ("-0.00", "0.001", None),
        ("-3", "-2.9996", None),
        ("63", "62.99999", "equal"),
    ],
)
def test_a_rounded_answer_counts_by_a_rule_of_its_own(output, gold, rule):
    number = answered_number(output)
    equal, rounded = is_number_right(number, [gold]), is_number_rounded(number, [gold])
    assert (rule == "equal", rule == "rounded") == (equal, rounded and not equal)


def test_the_last_number_counts_where_it_is_asked_for():
    assert last_number("48 / 2 = 24, and 48 + 24 = 1,072.") == 1072
    assert last_number("5, then 3,5") is None
    assert last_number("none") is None
    assert is_number_rounded(last_number("5 / 8 is 0.63"), ["0.625"])


def test_numbers_are_compared_with_a_tolerance():
    assert is_number_right(Decimal("0.33333"), [str(1 / 3)])
    assert is_number_right(Decimal("14.00009"), ["14"])
    assert not is_number_right(Decimal("14.0002"), ["14"])


@given(st.text())
def test_any_output_can_be_scored_and_normalisation_is_stable(text):
    words = normalised_words(text)
    assert normalised_words(" ".join(words)) == words
    assert all(words)
    assert is_number_right(answered_number(text), ["1"]) in (True, False)


EDGES = st.text(alphabet=".,;:!?\"'()[]-–…«»“”$", max_size=3)


@pytest.mark.parametrize("limit", [5, 10, 20])
@given(position=st.integers(0, 30), before=EDGES, after=EDGES)
def test_a_word_is_found_exactly_within_the_limit(limit, position, before, after):
    words = ["x"] * position + [f"{before}OSLO{after}"] + ["x"] * 3
    found = contains_answer(" ".join(words), ["Oslo"], first_words=limit)
    assert found is (position < limit)
