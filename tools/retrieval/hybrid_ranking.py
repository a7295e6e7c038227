"""Several rankings of the same passages become one: reciprocal rank fusion.

Cormack, Clarke and Büttcher (2009): each ranking gives its entry at rank r the weight
1 / (constant + r), and weights are added. Ranks are compared, never scores, so rankings whose
scores have nothing in common can be fused. Does not search.
"""

import math
from collections.abc import Sequence

from tools.retrieval.passage_ranking import Hit, PassageRanker
from tools.retrieval.retrieval_tool import Retriever


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], *, weights: Sequence[float], constant: float
) -> list[tuple[str, float]]:
    """Fuse rankings.

    Args:
        rankings: Distinct ids, best first.
        weights: Of each ranking, above 0.
        constant: Above 0; the larger, the less the first ranks stand out (60 in the paper).

    Returns:
        Ids with their fused weights, largest first, equal ones by id.

    Raises:
        ValueError: When the numbers of rankings and weights differ.

    Example:
        >>> fused = reciprocal_rank_fusion([["a", "b"], ["b", "c"]], weights=[1, 1], constant=60)
        >>> [(name, round(weight, 4)) for name, weight in fused]
        [('b', 0.0325), ('a', 0.0164), ('c', 0.0161)]
    """
    fused: dict[str, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, name in enumerate(ranking, start=1):
            fused[name] = fused.get(name, 0.0) + weight / (constant + rank)
    return sorted(fused.items(), key=lambda entry: (-entry[1], entry[0]))


class BM25Retriever:
    """BM25 as a retriever.

    Args:
        ranker: Searches the Lucene index.
        name: What the ranking depends on besides the index, such as `k1=0.9 b=0.4`.
        temperature: A passage is e times as probable as one whose score is less by this much.
    """

    def __init__(self, ranker: PassageRanker, *, name: str, temperature: float) -> None:
        self._ranker = ranker
        self._name = name
        self._temperature = temperature

    def version(self) -> str:
        """Settings and the fingerprint of the index."""
        return (
            f"bm25 {self._name} temperature={self._temperature:g} "
            f"index={self._ranker.fingerprint()}"
        )

    def check_available(self) -> None:
        """Raise ToolUnavailableError when index, pyserini or Java are missing."""
        self._ranker.check_available()

    def rank(self, queries: Sequence[str], depth: int) -> list[list[Hit]]:
        """See `tools.retrieval.retrieval_tool.Retriever`."""
        return [
            [Hit(hit.passage, hit.score / self._temperature) for hit in ranking]
            for ranking in self._ranker.rank(queries, depth)
        ]


class HybridRetriever:
    """Fuses the rankings of several retrievers over the same passages.

    Args:
        retrievers: Whose passages have the same ids.
        weights: Of each retriever.
        constant: See `reciprocal_rank_fusion`.
        depth: Entries of each ranking that are fused, or as many as are wanted, if these are more.
    """

    def __init__(
        self,
        retrievers: Sequence[Retriever],
        *,
        weights: Sequence[float],
        constant: float,
        depth: int,
    ) -> None:
        self._retrievers = retrievers
        self._weights = weights
        self._constant = constant
        self._depth = depth

    def version(self) -> str:
        """Settings and the versions of all retrievers."""
        parts = " ".join(
            f"{weight:g}*({retriever.version()})"
            for weight, retriever in zip(self._weights, self._retrievers, strict=True)
        )
        return f"hybrid constant={self._constant:g} depth={self._depth} {parts}"

    def check_available(self) -> None:
        """Raise ToolUnavailableError when one of the retrievers cannot run."""
        for retriever in self._retrievers:
            retriever.check_available()

    def rank(self, queries: Sequence[str], depth: int) -> list[list[Hit]]:
        """See `Retriever`; a passage is as probable as its fused weight says."""
        deep = max(self._depth, depth)
        of_all = [retriever.rank(queries, deep) for retriever in self._retrievers]
        return [
            self._fused([rankings[place] for rankings in of_all], depth)
            for place in range(len(queries))
        ]

    def _fused(self, rankings: Sequence[Sequence[Hit]], depth: int) -> list[Hit]:
        passages = {hit.passage.passage_id: hit.passage for ranking in rankings for hit in ranking}
        fused = reciprocal_rank_fusion(
            [[hit.passage.passage_id for hit in ranking] for ranking in rankings],
            weights=self._weights,
            constant=self._constant,
        )
        return [Hit(passages[name], math.log(weight)) for name, weight in fused[:depth]]
