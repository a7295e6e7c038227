"""Rankings by BM25 and dense vectors together.

    BM25 score, divided by the best passage's   +   cosine of question and passage

The union of both rankings' first passages is ranked; one that BM25 did not find has a BM25 score
of 0.
"""

from collections.abc import Sequence

import numpy as np

from tools.retrieval.dense_ranking import PassageVectors
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import RankedPassage

# Passages of each ranking that are compared, or as many as are wanted, if these are more.
_CANDIDATES = 100
# A passage is e times as probable to the reader as one whose score is less by this. Chosen on one
# half of three sets of questions, see docs/measurements.md.
_TEMPERATURE = 0.2


class HybridRetriever:
    """A `tools.retrieval.retrieval_tool.Retriever` over two indexes of the same passages."""

    def __init__(self, ranker: PassageRanker, vectors: PassageVectors) -> None:
        self._ranker = ranker
        self._vectors = vectors

    def version(self) -> str:
        """Settings and the fingerprints of both indexes."""
        return (
            f"hybrid temperature={_TEMPERATURE:g} ({self._ranker.version()}) "
            f"passage_index={self._vectors.fingerprint()}"
        )

    def check_available(self) -> None:
        """Raise ToolUnavailableError when one of the indexes cannot be used."""
        self._ranker.check_available()
        self._vectors.check_available()

    def rank(self, queries: Sequence[str], depth: int) -> list[list[RankedPassage]]:
        """See `Retriever`: score descending, equal scores by passage id."""
        rankings = [
            sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:depth]
            for scores in self._score(queries, max(_CANDIDATES, depth))
        ]
        passages = self._ranker.passages({name for ranking in rankings for name, _ in ranking})
        return [
            [RankedPassage(passages[name], score / _TEMPERATURE) for name, score in ranking]
            for ranking in rankings
        ]

    def _score(self, queries: Sequence[str], depth: int) -> list[dict[str, float]]:
        """Scores by passage id, for each query."""
        scores = []
        fingerprint = self._ranker.fingerprint()
        for query, hits in zip(queries, self._ranker.rank(queries, depth), strict=True):
            lexical = {hit.passage.passage_id: hit.score / hits[0].score for hit in hits}
            query_vector, vectors = self._vectors.near(
                query, depth, [*lexical], wikipedia_index=fingerprint
            )
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
