"""Rankings with dense vectors, by numbers worked out by hand."""

from types import MappingProxyType

import numpy as np
import pytest

from tools.errors import ToolUnavailableError
from tools.retrieval import hybrid_ranking
from tools.retrieval.hybrid_ranking import HybridRetriever, PassageVectors
from tools.retrieval.passage_index import build_passage_index
from tools.retrieval.passages import Passage, RankedPassage

PASSAGES = [Passage(str(number), f"title {number}", "", "", "") for number in range(5)]
# Of the passages, in order, and of the question; its cosines with them are 1, 0, 0.6, 0.8, -1.
VECTORS = {
    "title 0": (2, 0),
    "title 1": (0, 1),
    "title 2": (3, 4),
    "title 3": (4, 3),
    "title 4": (-1, 0),
    "question": (10, 0),
    "nothing": (0, 0),
}


class PlaneEncoder:
    """Knows a vector of two numbers for each text."""

    settings = MappingProxyType({"encoder": "plane"})
    identity = "plane"

    def encode(self, texts):
        return np.array([VECTORS[text] for text in texts], np.float32).reshape(-1, 2)


class FixedRanker:
    """Finds the same passages for every query."""

    def __init__(self, scores: dict[int, float]):
        self.hits = [RankedPassage(PASSAGES[number], score) for number, score in scores.items()]
        self.depths: list[int] = []

    def fingerprint(self):
        return "wikipedia"

    def rank(self, queries, depth):
        self.depths.append(depth)
        return [self.hits[:depth] for _ in queries]

    def passages(self, passage_ids):
        return {name: PASSAGES[int(name)] for name in passage_ids}


@pytest.fixture
def vectors(tmp_path, monkeypatch) -> PassageVectors:
    monkeypatch.setattr("tools.retrieval.hybrid_ranking.open_encoder", lambda *_: PlaneEncoder())
    build_passage_index(
        PASSAGES, tmp_path / "index", PlaneEncoder(), fingerprint="x", wikipedia_index="wikipedia"
    )
    return PassageVectors(tmp_path / "index", device=lambda: "cpu")


def scores(retriever, depth: int = 5, query: str = "question") -> dict[str, float]:
    (ranking,) = retriever.rank([query], depth)
    return {hit.passage.passage_id: hit.score * hybrid_ranking._TEMPERATURE for hit in ranking}


def test_hybrid_adds_the_share_of_the_best_bm25_score_and_the_cosine(vectors):
    retriever = HybridRetriever(FixedRanker({1: 8.0, 2: 6.0}), vectors)  # pyright: ignore
    found = scores(retriever)
    assert [*found] == ["2", "0", "1", "3", "4"]
    # Of the passages 0 and 1 with equal scores, the lower id is first.
    assert [*found.values()] == pytest.approx([0.75 + 0.6, 1.0, 1.0, 0.8, -1.0])
    # A question without tokens is ranked by BM25 alone.
    assert scores(retriever, query="nothing") == {"1": 1.0, "2": pytest.approx(0.75)}


def test_a_passage_that_only_bm25_found_has_its_cosine_too(vectors, monkeypatch):
    monkeypatch.setattr(hybrid_ranking, "_CANDIDATES", 1)
    ranker = FixedRanker({4: 5.0})
    # The inner product is largest with passage 3 (40), the cosine there 0.8.
    for expected in ({"3": 0.8}, {"3": 0.8, "2": 0.6}):
        retriever = HybridRetriever(ranker, vectors)  # pyright: ignore
        assert scores(retriever, depth=len(expected)) == pytest.approx(expected)
    assert ranker.depths == [1, 2]


def test_vectors_of_other_passages_are_not_mixed_with_bm25(vectors, monkeypatch):
    monkeypatch.setattr(FixedRanker, "fingerprint", lambda _: "another")
    retriever = HybridRetriever(FixedRanker({}), vectors)  # pyright: ignore
    with pytest.raises(ToolUnavailableError, match="other passages"):
        retriever.rank(["question"], 1)
