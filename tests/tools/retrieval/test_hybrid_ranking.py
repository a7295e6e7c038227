"""Reciprocal rank fusion, and the retrievers that are fused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.retrieval.hybrid_ranking import BM25Retriever, HybridRetriever, reciprocal_rank_fusion
from tools.retrieval.passage_ranking import Hit
from tools.retrieval.passages import Passage

rankings = st.lists(st.permutations("abcdef").map(lambda names: names[:4]), min_size=1, max_size=3)


def fuse(lists, *, constant=60.0):
    return reciprocal_rank_fusion(lists, weights=[1.0] * len(lists), constant=constant)


@given(rankings)
def test_every_entry_is_fused_once_and_nothing_else(lists):
    names = [name for name, _ in fuse(lists)]
    assert sorted(names) == sorted({name for ranking in lists for name in ranking})


@given(rankings)
def test_the_order_of_the_rankings_does_not_matter(lists):
    forwards, backwards = dict(fuse(lists)), dict(fuse(lists[::-1]))
    assert forwards.keys() == backwards.keys()
    assert all(math.isclose(forwards[name], backwards[name]) for name in forwards)


@given(st.permutations("abcdef"), st.floats(0.1, 1000))
def test_one_ranking_stays_as_it_is(ranking, constant):
    assert [name for name, _ in fuse([ranking], constant=constant)] == list(ranking)


@given(rankings)
def test_an_entry_that_is_nowhere_behind_another_is_not_fused_behind_it(lists):
    place = {name: rank for rank, (name, _) in enumerate(fuse(lists))}

    def ranks(name):
        return [ranking.index(name) if name in ranking else math.inf for ranking in lists]

    for left in place:
        for right in place:
            if all(a < b for a, b in zip(ranks(left), ranks(right), strict=True)):
                assert place[left] < place[right]


def test_weights_are_those_of_the_formula():
    fused = reciprocal_rank_fusion([["a", "b"], ["b"]], weights=[1.0, 0.5], constant=10.0)
    assert fused == [("b", 1 / 12 + 0.5 / 11), ("a", 1 / 11)]


def test_equal_weights_are_ordered_by_name():
    assert [name for name, _ in fuse([["b"], ["a"]])] == ["a", "b"]


def test_a_weight_per_ranking_is_needed():
    with pytest.raises(ValueError, match="argument"):
        reciprocal_rank_fusion([["a"]], weights=[1.0, 1.0], constant=60.0)


class ListRanker:
    """Ranks the same ids for every query."""

    def __init__(self, names: str):
        self.names = names
        self.depths: list[int] = []

    def fingerprint(self):
        return f"list-{self.names}"

    version = fingerprint

    def check_available(self):
        pass

    def rank(self, queries, depth):
        self.depths.append(depth)
        hits = [
            Hit(Passage(name, name, "", "", ""), 10.0 - place)
            for place, name in enumerate(self.names[:depth])
        ]
        return [hits for _ in queries]


def test_bm25_scores_become_logarithms():
    retriever = BM25Retriever(ListRanker("ab"), name="k1=1", temperature=2.0)  # pyright: ignore
    ((first, second),) = retriever.rank(["q"], 5)
    assert (first.score, second.score) == (5.0, 4.5)
    assert retriever.version() == "bm25 k1=1 temperature=2 index=list-ab"


def test_fused_passages_are_as_probable_as_their_weights():
    parts = ListRanker("abc"), ListRanker("cd")
    retriever = HybridRetriever(parts, weights=(1.0, 2.0), constant=1.0, depth=10)
    (ranking, again) = retriever.rank(["q", "r"], 3)
    assert ranking == again
    assert [hit.passage.passage_id for hit in ranking] == ["c", "d", "a"]
    assert [math.exp(hit.score) for hit in ranking] == pytest.approx([1.25, 2 / 3, 0.5])
    assert [part.depths for part in parts] == [[10], [10]]


def test_more_than_the_fused_depth_can_be_asked_for():
    part = ListRanker("abcdef")
    HybridRetriever([part], weights=[1.0], constant=1.0, depth=2).rank(["q"], 5)
    assert part.depths == [5]


def test_the_version_names_every_part():
    retriever = HybridRetriever(
        (ListRanker("a"), ListRanker("b")), weights=(1.0, 0.5), constant=60.0, depth=9
    )
    assert retriever.version() == "hybrid constant=60 depth=9 1*(list-a) 0.5*(list-b)"
