"""How much of a result a text holds already."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.running.leak_check import GRAM_WORDS, LeakCheck

WORDS = st.sampled_from(["a", "b", "c"])
TEXT = "Once one two three four five six seven eight. Later nine ten eleven twelve."


def naive(words, text_words):
    grams = {tuple(words[i : i + GRAM_WORDS]) for i in range(len(words) - GRAM_WORDS + 1)}
    there = {tuple(text_words[i : i + GRAM_WORDS]) for i in range(len(text_words))}
    return sum(gram in there for gram in grams) / len(grams)


@given(
    before=st.lists(WORDS, max_size=30),
    after=st.lists(WORDS, max_size=30),
    result=st.lists(WORDS, min_size=GRAM_WORDS, max_size=20),
)
def test_shares_are_those_of_the_two_parts_counted_apart(before, after, result):
    head = "".join(f"{word} " for word in before)
    shares = LeakCheck(head + " ".join(after)).shares(" ".join(result), len(head))
    assert shares is not None
    assert shares.before == naive(result, before)
    assert shares.after == naive(result, after)


@pytest.mark.parametrize(
    ("offset", "before", "after"), [(0, 0, 1), (5, 0, 1), (20, 0, 0), (45, 1, 0), (75, 1, 0)]
)
def test_what_stands_across_the_place_counts_for_neither_side(offset, before, after):
    shares = LeakCheck(TEXT).shares("ONE two, three four five six seven eight!", offset)
    assert (shares.before, shares.after) == (before, after)


@pytest.mark.parametrize("result", ["", "144", "one two three four five six seven"])
def test_short_results_repeat_nothing_for_certain(result):
    assert LeakCheck(TEXT).shares(result, 0) is None
