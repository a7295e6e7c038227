"""Ranks passages by the inner product of dense vectors, with FAISS.

Imports FAISS and reads the encoder at the first ranking, never before. Does not know calls or
the texts that they stand in.
"""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import ToolUnavailableError
from tools.retrieval.dense_index import (
    ENCODER_FOLDER,
    OFFSETS_FILE,
    PASSAGES_FILE,
    VECTORS_FILE,
    PassageEncoder,
    dense_index_information,
    load_encoder,
)
from tools.retrieval.dense_vectors import open_faiss_index
from tools.retrieval.index_folder import check_files
from tools.retrieval.passage_ranking import NO_INDEX, Hit
from tools.retrieval.passages import Passage

_TOOL_NAME = "QA"
_BUILD_REMEDY = (
    "Materialise passage_index: run `toolformer build`, or press Materialize on that asset in the "
    "UI"
)


class DenseRetriever:
    """Searches one index of dense vectors, usable from several threads, one at a time.

    Args:
        directory: Folder made by `tools.retrieval.dense_index.build_dense_index`.
        probes: Cells of a compressed index that are looked into, at least 1.
        temperature: A passage is e times as probable as one whose inner product is less by this.
        device: Gives the device of a pretrained encoder, at the first ranking.
    """

    def __init__(
        self,
        directory: Path,
        *,
        probes: int,
        temperature: float,
        device: Callable[[], str] | None = None,
    ) -> None:
        self.directory = directory
        self._probes = probes
        self._temperature = temperature
        self._device = device
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    def fingerprint(self) -> str:
        """Identify the index as it stands now; `NO_INDEX` where there is none."""
        information = dense_index_information(self.directory)
        return NO_INDEX if information is None else information["fingerprint"]

    def version(self) -> str:
        """Settings and the fingerprint of the index."""
        return (
            f"dense probes={self._probes} temperature={self._temperature:g} "
            f"index={self.fingerprint()}"
        )

    def check_available(self) -> None:
        """Check that the index is there, without FAISS.

        Raises:
            ToolUnavailableError: When it is not.
        """
        if self.fingerprint() == NO_INDEX:
            raise ToolUnavailableError(
                _TOOL_NAME, f"there is no passage index in {self.directory}", _BUILD_REMEDY
            )

    def rank(self, queries: Sequence[str], depth: int) -> list[list[Hit]]:
        """Rank passages.

        Args:
            queries: Questions; one that shares no term with the passages finds nothing.
            depth: Most passages per question, at least 1.

        Returns:
            One ranking per question: score descending, equal scores by passage id.

        Raises:
            ToolUnavailableError: When the index cannot be opened.
        """
        with self._lock:
            opened = self._open()
            # One by one: encoders and FAISS compute many together in another order of additions,
            # and the last digits of a ranking must not depend on what else is asked.
            return [self._rank(opened, query, depth) for query in queries]

    def _rank(self, opened: "_Opened", query: str, depth: int) -> list[Hit]:
        vector = opened.encoder.encode([query])
        if not vector.any():
            return []
        scores, rows = opened.index.search(vector, min(depth, opened.index.ntotal))
        hits = [
            Hit(opened.passage(int(row)), float(score) / self._temperature)
            for score, row in zip(scores[0], rows[0], strict=True)
            if row >= 0
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.passage.passage_id))

    def _open(self) -> "_Opened":
        """The index; read on first use and when it was built anew."""
        self.check_available()
        information = dense_index_information(self.directory) or {}
        if self._opened is None or self._opened.information != information:
            check_files(self.directory, _TOOL_NAME)
            try:
                self._opened = _Opened(self.directory, information, self._probes, self._device)
            except (EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
                if isinstance(error, ToolUnavailableError):
                    raise
                raise ToolUnavailableError(
                    _TOOL_NAME,
                    f"the passage index in {self.directory} cannot be opened ({error})",
                    _BUILD_REMEDY,
                ) from error
        return self._opened


class _Opened:
    """An index that is open: vectors and passages are read from their files as needed."""

    def __init__(
        self,
        directory: Path,
        information: dict[str, Any],
        probes: int,
        device: Callable[[], str] | None,
    ) -> None:
        self.information = information
        self.encoder: PassageEncoder = load_encoder(directory / ENCODER_FOLDER, device)
        self.index: Any = open_faiss_index(
            directory / VECTORS_FILE, information["index"], probes=probes
        )
        self._offsets = np.load(directory / OFFSETS_FILE, mmap_mode="r")
        self._lines = np.memmap(directory / PASSAGES_FILE, dtype=np.uint8, mode="r")

    def passage(self, row: int) -> Passage:
        line = self._lines[self._offsets[row] : self._offsets[row + 1]].tobytes()
        return Passage(**json.loads(line))
