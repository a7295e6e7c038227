"""What a text shares with a result, and with a passage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.protocol import Document
from tools.text_overlap import (
    GRAM_WORDS,
    DocumentMatcher,
    LeakCheck,
    normalised_title,
    normalised_url,
)

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
def test_shares_are_of_the_sequences_that_end_before_and_behind_the_place(before, after, result):
    head = "".join(f"{word} " for word in before)
    check = LeakCheck(head + " ".join(after))
    assert check.shares(" ".join(result), len(head)) == (
        naive(result, before),
        naive(result, [*before[-GRAM_WORDS + 1 :], *after]),
    )


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, (0, 1)), (5, (0, 1)), (20, (0, 1)), (45, (1, 0)), (75, (1, 0))]
)
def test_what_stands_across_the_place_counts_as_behind_it(offset, expected):
    check = LeakCheck(TEXT)
    assert check.shares("ONE two, three four five six seven eight!", offset) == expected
    # Short results repeat nothing for certain.
    for result in ("", "144", "one two three four five six seven"):
        assert check.shares(result, offset) is None


@pytest.mark.parametrize(
    "name", ["नरेन्द्र दामोदरदास मोदी", "E\u0301le\u0301onore Me\u0301re\u0301e Be\u0301se\u0301"]
)
def test_vowel_signs_and_accents_make_no_words(name):
    assert LeakCheck(f"It is {name}.").shares(name, 5) is None


@pytest.mark.parametrize("letter", ["ß", "İ"])
def test_letters_that_folding_makes_longer_shift_no_place(letter):
    repeated = f"one two three four five six seven {letter}"
    text = f"{letter * 20} {repeated} | and more"
    assert LeakCheck(text).shares(repeated, text.index("|")) == (1, 0)


SUEZ = "https://en.wikipedia.org/wiki/Suez_Canal"


def asking(text: str = "Something else.", **fields) -> DocumentMatcher:
    return DocumentMatcher(Document("d", text, **fields))


@pytest.mark.parametrize(
    ("fields", "title", "url", "is_own"),
    [
        ({"url": SUEZ}, "x", "http://www.EN.wikipedia.org/wiki/Suez_Canal/", True),
        ({"url": SUEZ}, "x", "en.m.wikipedia.org/wiki/Suez%20Canal#History", True),
        ({"url": SUEZ}, "x", "https://en.wikipedia.org/wiki/Suez", False),
        ({"url": "a.org/x?id=1"}, "x", "a.org/x?id=2", False),
        ({"title": "Suez_Canal - Wikipedia"}, "suez  canal", "", True),
        ({"title": "Suez_Canal - Wikipedia"}, "Suez", "", False),
        ({}, "", "", False),
    ],
)
def test_the_own_source_is_known_by_address_or_title_in_any_spelling(fields, title, url, is_own):
    assert asking(**fields).is_own_source(title=title, url=url, text="y") == is_own


def test_overlap_is_the_share_of_the_passages_word_sequences():
    words = [f"w{number}" for number in range(24)]
    # 24 words have 17 sequences of 8; the first 14 words hold 7 of them.
    assert asking(" ".join(words[:14])).overlap(" ".join(words)) == pytest.approx(7 / 17)
    assert asking(" ".join(words[:7])).overlap(" ".join(words)) == 0.0
    for repeated, is_own in ((16, True), (15, False)):
        text = asking(f"He wrote: “{' '.join(words[:repeated]).upper()}” That was all.")
        assert text.is_own_source(title="x", url="", text=" ".join(words)) == is_own
    # A short passage counts as one sequence.
    text = asking("The otter eats fish every day of the week.")
    assert text.overlap("Eats fish, every day!") == 1.0
    assert (text.overlap("eats fish ever"), text.overlap("…")) == (0.0, 0.0)


@given(st.text())
def test_normalising_never_fails(text):
    normalised_url(text)
    normalised_title(text)
