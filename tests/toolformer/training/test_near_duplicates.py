import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolformer.training.shared_words import NearDuplicateIndex, _shingles, words_of


def shingles(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    if not words:
        return set()
    return {tuple(words[start : start + 5]) for start in range(max(len(words) - 5, 0) + 1)}


def jaccard(left: str, right: str) -> float:
    ours, theirs = shingles(left), shingles(right)
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 0.0


def test_the_most_alike_is_named_and_of_equals_the_first():
    words = [f"w{number}" for number in range(40)]

    def without(*places: int) -> str:
        return " ".join(f"x{place}" if place in places else words[place] for place in range(40))

    # Of 36 sequences the first two lack nine each, and the third eight.
    first, last, likest = without(3, 8), without(31, 36), without(2, 20)
    for texts, named in (((first, last), 0), ((last, first), 0), ((first, last, likest), 2)):
        index = NearDuplicateIndex(0.6)
        for number, each in enumerate(texts):
            assert index.find_or_add(number, each) is None
        found = index.find_or_add(9, " ".join(words))
        assert found == (named, 28 / 44 if named else 27 / 45)


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95])
def test_pairs_at_the_threshold_are_found(similarity: float):
    """Each is missed with a chance of at most one in ten thousand."""
    chance = random.Random(1)
    index = NearDuplicateIndex(similarity)
    pairs = 0
    for number in range(150):
        words = [f"{number}-{place}" for place in range(chance.randint(30, 200))]
        index.find_or_add(f"{number} first", " ".join(words))
        # Words are taken off the end until the rest is just similar enough.
        second = list(words)
        while jaccard(" ".join(words), " ".join(second[:-1])) >= similarity:
            second.pop()
        found = index.find_or_add(f"{number} second", " ".join(second))
        pairs += found is not None and found[0] == f"{number} first"
    assert pairs == 150


def test_the_same_texts_are_alike_in_every_process():
    assert _shingles("a b c d e f").tolist() == [8775120377282934009, 13070585340408049117]


texts = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=8)


@settings(deadline=None)
@given(texts, st.sampled_from([0.5, 0.75, 1.0]))
def test_no_two_texts_that_stay_are_alike_and_each_that_goes_is_like_one(given_texts, similarity):
    index = NearDuplicateIndex(similarity)
    stayed: list[int] = []
    for number, text in enumerate(given_texts):
        found = index.find_or_add(number, text)
        alike = [other for other in stayed if jaccard(text, given_texts[other]) >= similarity]
        if found is None:
            assert not alike
            stayed.append(number)
        else:
            key, measured = found
            assert key in alike
            assert measured == jaccard(text, given_texts[key])
