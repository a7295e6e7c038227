"""Finds the passages whose dense vectors are nearest to a question's, with FAISS.

FAISS is imported and the encoder loaded at the first question.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import ToolUnavailableError
from tools.retrieval.passage_index import (
    VECTORS_FILE,
    PassageEncoder,
    open_encoder,
    passage_index_information,
)
from tools.retrieval.passage_ranking import NO_INDEX

_TOOL_NAME = "WikiSearch"
_BUILD_REMEDY = (
    "Materialise passage_index: run `toolformer build`, with `--tools NAME` for a tool that is not "
    "enabled, or press Materialize on that asset in the UI"
)


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
        information = passage_index_information(self.directory)
        return NO_INDEX if information is None else information["fingerprint"]

    def check_available(self) -> None:
        """Check index and encoder by looking at files."""
        self._encoder(self._information())

    def near(
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
        information = passage_index_information(self.directory)
        if information is None:
            raise ToolUnavailableError(
                _TOOL_NAME, f"there is no passage index in {self.directory}", _BUILD_REMEDY
            )
        return information

    def _encoder(self, information: dict[str, Any]) -> PassageEncoder:
        encoder = open_encoder(information, self._device)
        if encoder.identity != information["encoder_identity"]:
            raise ToolUnavailableError(
                _TOOL_NAME,
                f"the encoder {information['encoder']} is not the one that the passage index in "
                f"{self.directory} was built with",
                _BUILD_REMEDY,
            )
        return encoder

    def _open(self, wikipedia_index: str) -> tuple[PassageEncoder, Any]:
        """Encoder and FAISS index; read on first use and when the index was built anew."""
        information = self._information()
        if information["wikipedia_index"] != wikipedia_index:
            raise ToolUnavailableError(
                _TOOL_NAME,
                f"the passage index in {self.directory} has the vectors of other passages than "
                "those of the Wikipedia index",
                _BUILD_REMEDY,
            )
        if self._opened is None or self._opened[0] != information:
            self._opened = (
                information,
                self._encoder(information),
                _open_faiss_index(self.directory / VECTORS_FILE),
            )
        return self._opened[1:]


def _open_faiss_index(file: Path) -> Any:
    """Map an index into memory: its vectors are read from the file as they are needed."""
    import faiss

    try:
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        reason = str(error).rpartition(".cpp:")[2].partition(": ")[2]
        raise ToolUnavailableError(
            _TOOL_NAME,
            f"the FAISS index {file} cannot be opened ({reason})",
            f"Remove {file.parent}; the next build makes it again",
        ) from error
