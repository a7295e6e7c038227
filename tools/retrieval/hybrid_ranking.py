"""Ranks passages by BM25 and dense vectors together.

    BM25 score / best BM25 score   +   cosine of question and passage

The top passages of both rankings are ranked again by this sum. A passage that BM25 did not find has
the BM25 score 0. FAISS and the encoder are loaded at the first question.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import ToolUnavailableError
from tools.retrieval.index_folder import index_information
from tools.retrieval.passage_index import VECTORS_FILE, PassageEncoder, faiss_reason, open_encoder
from tools.retrieval.passage_ranking import NO_INDEX, PassageRanker
from tools.retrieval.passages import RankedPassage

_BUILD_REMEDY = (
    "Materialise passage_index: run `toolformer build` (with `--tools NAME` if the tool is not "
    "enabled), or press Materialize on that asset in the UI"
)
# Minimum number of passages taken from each ranking.
_CANDIDATES = 100
# A passage is e times as probable to the reader as one whose score is lower by this number. The
# value was chosen on one half of three question sets; see docs/measurements.md.
_TEMPERATURE = 0.2


class PassageVectors:
    """Dense vectors of one passage index. Thread-safe. `device` is called at first use."""

    def __init__(self, directory: Path, *, device: Callable[[], str]) -> None:
        self.directory = directory
        self._device = device
        self._opened: tuple[dict[str, Any], PassageEncoder, Any] | None = None
        self._lock = threading.Lock()

    def fingerprint(self) -> str:
        """Return the fingerprint of the current index; `NO_INDEX` if there is none."""
        information = index_information(self.directory)
        return NO_INDEX if information is None else information["fingerprint"]

    def check_available(self) -> None:
        """Check that index and encoder exist, without loading them."""
        self._encoder(self._information())

    def nearest(
        self, question: str, depth: int, further: Sequence[str], *, wikipedia_index: str
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return a question's vector, and by id those of its nearest passages and of `further`.

        The nearest passages have the largest inner products; a question without tokens has none.
        Vectors of a compressed index are approximate. Raise ToolUnavailableError unless the vectors
        belong to the passages of `wikipedia_index`, a fingerprint.
        """
        with self._lock:
            encoder, index = self._open(wikipedia_index)
            # Questions are searched one by one: in a batch, encoders and FAISS would add numbers in
            # another order, and the last digits of a ranking would depend on other questions.
            queries = encoder.encode([question])
            nearest = []
            if queries.any():
                _, rows = index.search(queries, min(depth, index.ntotal))
                nearest = [str(row) for row in rows[0] if row >= 0]
            passage_ids = [*dict.fromkeys([*nearest, *further])]
            ids = np.array(passage_ids, np.int64)
            vectors = index.reconstruct_batch(ids) if passage_ids else []
        return queries[0], dict(zip(passage_ids, vectors, strict=True))

    def _information(self) -> dict[str, Any]:
        information = index_information(self.directory)
        if information is None:
            raise _unavailable(f"there is no passage index in {self.directory}")
        return information

    def _encoder(self, information: dict[str, Any]) -> PassageEncoder:
        encoder = open_encoder(information, self._device)
        if encoder.identity != information["encoder_identity"]:
            raise _unavailable(
                f"the passage index in {self.directory} was built with another encoder than "
                f"{information['encoder']}"
            )
        return encoder

    def _open(self, wikipedia_index: str) -> tuple[PassageEncoder, Any]:
        """Return encoder and FAISS index, opened at first use and after a rebuild."""
        import faiss

        information = self._information()
        if information["wikipedia_index"] != wikipedia_index:
            raise _unavailable(
                f"the passage index in {self.directory} has vectors of other passages than the "
                "Wikipedia index"
            )
        if self._opened is None or self._opened[0] != information:
            encoder, file = self._encoder(information), self.directory / VECTORS_FILE
            try:
                # Mapped into memory: vectors are read from the file when needed.
                index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
            except (RuntimeError, MemoryError) as error:
                remedy = f"Remove {self.directory}; the next build creates it again"
                reason = f"the FAISS index {file} cannot be opened ({faiss_reason(error)})"
                raise _unavailable(reason, remedy) from error
            self._opened = (information, encoder, index)
        return self._opened[1:]


class HybridRetriever:
    """`tools.retrieval.retrieval_tool.Retriever` over two indexes of the same passages."""

    def __init__(self, ranker: PassageRanker, vectors: PassageVectors) -> None:
        self._ranker = ranker
        self._vectors = vectors

    def version(self) -> str:
        return (
            f"hybrid temperature={_TEMPERATURE:g} ({self._ranker.version()}) "
            f"passage_index={self._vectors.fingerprint()}"
        )

    def check_available(self) -> None:
        self._ranker.check_available()
        self._vectors.check_available()

    def rank(self, queries: Sequence[str], depth: int) -> list[list[RankedPassage]]:
        """Rank passages by descending score, equal scores by passage id; see `Retriever`."""
        rankings = [
            sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:depth]
            for scores in self._score(queries, max(_CANDIDATES, depth))
        ]
        passages = self._ranker.passages(
            {passage_id for ranking in rankings for passage_id, _ in ranking}
        )
        return [
            [
                RankedPassage(passages[passage_id], score / _TEMPERATURE)
                for passage_id, score in ranking
            ]
            for ranking in rankings
        ]

    def _score(self, queries: Sequence[str], depth: int) -> list[dict[str, float]]:
        scores = []
        fingerprint = self._ranker.fingerprint()
        for query, hits in zip(queries, self._ranker.rank(queries, depth), strict=True):
            lexical = {hit.passage.passage_id: hit.score / hits[0].score for hit in hits}
            query_vector, vectors = self._vectors.nearest(
                query, depth, [*lexical], wikipedia_index=fingerprint
            )
            scores.append(
                {
                    passage_id: lexical.get(passage_id, 0.0) + _cosine(query_vector, vector)
                    for passage_id, vector in vectors.items()
                }
            )
        return scores


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float((left * right).sum()) / lengths if lengths else 0.0


def _unavailable(reason: str, remedy: str = _BUILD_REMEDY) -> ToolUnavailableError:
    return ToolUnavailableError("WikiSearch", reason, remedy)
