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


def shares(text, result, offset):
    found = LeakCheck(text).shares(result, offset)
    assert found is not None
    return (found.before, found.after)


@given(
    before=st.lists(WORDS, max_size=30),
    after=st.lists(WORDS, max_size=30),
    result=st.lists(WORDS, min_size=GRAM_WORDS, max_size=20),
)
def test_shares_are_of_the_sequences_that_end_before_and_behind_the_place(before, after, result):
    head = "".join(f"{word} " for word in before)
    assert shares(head + " ".join(after), " ".join(result), len(head)) == (
        naive(result, before),
        naive(result, [*before[-GRAM_WORDS + 1 :], *after]),
    )


@pytest.mark.parametrize(
    ("offset", "before", "after"), [(0, 0, 1), (5, 0, 1), (20, 0, 1), (45, 1, 0), (75, 1, 0)]
)
def test_what_stands_across_the_place_counts_as_behind_it(offset, before, after):
    result = "ONE two, three four five six seven eight!"
    assert shares(TEXT, result, offset) == (before, after)


def test_a_call_amid_the_sentence_that_is_its_result_is_a_leak():
    sentence = " ".join(f"word{number}" for number in range(18))
    assert shares(sentence, sentence, sentence.index("word6")) == (0, 1)


@pytest.mark.parametrize("letter", ["ß", "ﬁ", "İ"])
def test_letters_that_folding_makes_longer_shift_no_place(letter):
    repeated = f"one two three four five six seven {letter}"
    text = f"{letter * 20} {repeated} | and more"
    assert shares(text, repeated, text.index("|")) == (1, 0)


@pytest.mark.parametrize("result", ["", "144", "one two three four five six seven"])
def test_short_results_repeat_nothing_for_certain(result):
    assert LeakCheck(TEXT).shares(result, 0) is None
