"""Rankings with dense vectors: these alone, or BM25 and vectors together.

    dense     inner product of question and passage
    hybrid    BM25 score, divided by the best passage's   +   cosine of question and passage

The hybrid ranks the union of both rankings' first passages; one that BM25 did not find has a BM25
score of 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from tools.retrieval.dense_ranking import PassageVectors
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import StoredPassage, stored_passage

# Passages of each ranking that the hybrid compares, or as many as are wanted, if these are more.
_CANDIDATES = 100


class _VectorRetriever(ABC):
    """A `tools.retrieval.retrieval_tool.Retriever` over two indexes of the same passages."""

    name: ClassVar[str]
    # A passage is e times as probable to the reader as one whose score is less by this. Chosen on
    # one half of three sets of questions, see docs/measurements.md.
    temperature: ClassVar[float]

    def __init__(self, ranker: PassageRanker, vectors: PassageVectors) -> None:
        self._ranker = ranker
        self._vectors = vectors

    def version(self) -> str:
        """Settings and the fingerprints of both indexes."""
        return (
            f"{self.name} temperature={self.temperature:g} ({self._ranker.version()}) "
            f"passage_index={self._vectors.fingerprint()}"
        )

    def check_available(self) -> None:
        """Raise ToolUnavailableError when one of the indexes cannot be used."""
        self._ranker.check_available()
        self._vectors.check_available()

    def rank(self, queries: Sequence[str], depth: int) -> list[list[StoredPassage]]:
        """See `Retriever`: score descending, equal scores by passage id."""
        rankings = [
            sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:depth]
            for scores in self._score(queries, depth)
        ]
        passages = self._ranker.passages({name for ranking in rankings for name, _ in ranking})
        return [
            [stored_passage(passages[name], score / self.temperature) for name, score in ranking]
            for ranking in rankings
        ]

    @abstractmethod
    def _score(self, queries: Sequence[str], depth: int) -> list[dict[str, float]]:
        """Scores by passage id, for each query."""

    def _near(
        self, query: str, depth: int, further: Sequence[str] = ()
    ) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        return self._vectors.near(query, depth, further, wikipedia_index=self._ranker.fingerprint())


class DenseRetriever(_VectorRetriever):
    """Passages by the inner product of vectors."""

    name = "dense"
    temperature = 0.1

    def _score(self, queries: Sequence[str], depth: int) -> list[dict[str, float]]:
        scores = []
        for query in queries:
            query_vector, vectors = self._near(query, depth)
            scores.append(
                {name: float((vector * query_vector).sum()) for name, vector in vectors.items()}
            )
        return scores


class HybridRetriever(_VectorRetriever):
    """Passages by BM25 and the cosine of vectors, whatever their lengths, together."""

    name = "hybrid"
    temperature = 0.2

    def _score(self, queries: Sequence[str], depth: int) -> list[dict[str, float]]:
        depth = max(_CANDIDATES, depth)
        scores = []
        for query, hits in zip(queries, self._ranker.rank(queries, depth), strict=True):
            lexical = {
                str(hit["passage_id"]): float(hit["score"]) / float(hits[0]["score"])
                for hit in hits
            }
            query_vector, vectors = self._near(query, depth, [*lexical])
            scores.append(
                {
                    name: lexical.get(name, 0.0) + _cosine(query_vector, vector)
                    for name, vector in vectors.items()
                }
            )
        return scores


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    """The cosine of the angle between two vectors; 0 where one is zero."""
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float((left * right).sum()) / lengths if lengths else 0.0
