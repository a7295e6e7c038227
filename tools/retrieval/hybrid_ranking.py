"""Rankings by BM25 and dense vectors together.

    BM25 score, divided by the best passage's   +   cosine of question and passage

The union of both rankings' first passages is ranked; one that BM25 did not find has a BM25 score
of 0. FAISS is imported and the encoder loaded at the first question.
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
    "Materialise passage_index: run `toolformer build`, with `--tools NAME` for a tool that is not "
    "enabled, or press Materialize on that asset in the UI"
)
# Passages of each ranking that are compared, or as many as are wanted, if these are more.
_CANDIDATES = 100
# A passage is e times as probable to the reader as one whose score is less by this. Chosen on one
# half of three sets of questions, see docs/measurements.md.
_TEMPERATURE = 0.2


class PassageVectors:
    """The vectors of one passage index, usable from several threads, one at a time.

    Args:
        device: Gives the device of a Hugging Face encoder, at the first question.
    """

    def __init__(self, directory: Path, *, device: Callable[[], str]) -> None:
        self.directory = directory
        self._device = device
        self._opened: tuple[dict[str, Any], PassageEncoder, Any] | None = None
        self._lock = threading.Lock()

    def fingerprint(self) -> str:
        """Identify the index as it stands now; `NO_INDEX` where there is none."""
        information = index_information(self.directory)
        return NO_INDEX if information is None else information["fingerprint"]

    def check_available(self) -> None:
        """Check index and encoder by looking at files."""
        self._encoder(self._information())

    def nearest(
        self, question: str, depth: int, further: Sequence[str], *, wikipedia_index: str
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Find the passages of the largest inner products with a question.

        Args:
            question: One without tokens has no nearest passages.
            further: Ids of passages whose vectors are wanted too.
            wikipedia_index: Fingerprint of the index that these ids are of.

        Returns:
            The vector of the question, and vectors of passages by id, each of shape `(dimension,)`.
            Those of a compressed index are approximate.

        Raises:
            ToolUnavailableError: As `check_available`, and when the index cannot be opened or has
                other passages than the Wikipedia index.
        """
        with self._lock:
            encoder, index = self._open(wikipedia_index)
            # One by one: encoders and FAISS compute many together in another order of additions,
            # and the last digits of a ranking must not depend on what else is asked.
            queries = encoder.encode([question])
            nearest = []
            if queries.any():
                _, rows = index.search(queries, min(depth, index.ntotal))
                nearest = [str(row) for row in rows[0] if row >= 0]
            names = [*dict.fromkeys([*nearest, *further])]
            vectors = index.reconstruct_batch(np.array(names, np.int64)) if names else []
        return queries[0], dict(zip(names, vectors, strict=True))

    def _information(self) -> dict[str, Any]:
        information = index_information(self.directory)
        if information is None:
            raise _unavailable(f"there is no passage index in {self.directory}")
        return information

    def _encoder(self, information: dict[str, Any]) -> PassageEncoder:
        encoder = open_encoder(information, self._device)
        if encoder.identity != information["encoder_identity"]:
            raise _unavailable(
                f"the encoder {information['encoder']} is not the one that the passage index in "
                f"{self.directory} was built with"
            )
        return encoder

    def _open(self, wikipedia_index: str) -> tuple[PassageEncoder, Any]:
        """Return encoder and FAISS index, opened on first use and when the index was rebuilt."""
        import faiss

        information = self._information()
        if information["wikipedia_index"] != wikipedia_index:
            raise _unavailable(
                f"the passage index in {self.directory} has the vectors of other passages than "
                "those of the Wikipedia index"
            )
        if self._opened is None or self._opened[0] != information:
            encoder, file = self._encoder(information), self.directory / VECTORS_FILE
            try:
                # Mapped into memory: vectors are read from the file as they are needed.
                index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
            except (RuntimeError, MemoryError) as error:
                remedy = f"Remove {self.directory}; the next build makes it again"
                reason = f"the FAISS index {file} cannot be opened ({faiss_reason(error)})"
                raise _unavailable(reason, remedy) from error
            self._opened = (information, encoder, index)
        return self._opened[1:]


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
            query_vector, vectors = self._vectors.nearest(
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


def _unavailable(reason: str, remedy: str = _BUILD_REMEDY) -> ToolUnavailableError:
    return ToolUnavailableError("WikiSearch", reason, remedy)
