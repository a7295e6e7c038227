"""Builds the FAISS index of dense passage vectors that is searched along with BM25.

    passages -> encoder -> vectors in one temporary file -> FAISS index

The row of a vector is the id of its passage, whose text is in the Wikipedia index. The finished
folder is renamed into place, so an index is complete or absent; a killed build starts over.
"""

import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tools.retrieval.encoder import TextEncoder
from tools.retrieval.index_folder import IndexBuildError, exclusive_build, write_information
from tools.retrieval.passages import Passage
from tools.retrieval.word_vectors import WORDLLAMA, WordVectors

VECTORS_FILE = "vectors.faiss"
FLAT = "Flat"
"""FAISS's name of the exact index."""

_CHUNK_PASSAGES = 10_000
# Number of cells that a search visits, if the index has cells.
_PROBES = 32

PassageEncoder: TypeAlias = TextEncoder | WordVectors


def open_encoder(settings: Mapping[str, Any], device: Callable[[], str]) -> PassageEncoder:
    """Open the encoder that is named in settings or in the `index.json` of a passage index."""
    if settings["encoder"] == WORDLLAMA:
        return WordVectors()
    return TextEncoder(
        Path(settings["encoder"]),
        similarity=settings["similarity"],
        max_tokens=settings["encoder_tokens"],
        device=device,
    )


def build_passage_index(
    passages: Iterable[Passage],
    directory: Path,
    encoder: PassageEncoder,
    *,
    fingerprint: str,
    wikipedia_index: str,
    index_factory: str = FLAT,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Build the index while holding the lock of `exclusive_build`; passage ids must be row indices.

    `wikipedia_index` is the fingerprint of the Wikipedia index with the same passages. Raise
    IndexBuildError if there are no passages, or if FAISS cannot build the index that
    `index_factory` describes.
    """
    import faiss

    directory = Path(directory).absolute()
    with exclusive_build(directory, fingerprint=fingerprint) as folder:
        if folder is None:
            return
        started = time.perf_counter()
        # Read before encoding, because the encoder's files may be replaced meanwhile.
        identity = encoder.identity
        with _faiss_errors(index_factory):
            # A wrong index_factory fails here, before hours of encoding.
            index = _empty_index(encoder.encode([]).shape[1], index_factory)
        vectors = _encode(passages, encoder, folder / "vectors.f32", progress)
        encoding_seconds = time.perf_counter() - started
        with _faiss_errors(index_factory):
            _fill(index, vectors)
        faiss.write_index(index, str(folder / VECTORS_FILE))
        count, dimension = vectors.shape
        del vectors
        (folder / "vectors.f32").unlink()
        information = {
            "fingerprint": fingerprint,
            "wikipedia_index": wikipedia_index,
            "passages": count,
            "dimension": dimension,
            "index": index_factory,
            **encoder.settings,
            "encoder_identity": identity,
            "bytes": (folder / VECTORS_FILE).stat().st_size,
            "seconds": round(time.perf_counter() - started, 3),
            "encoded_per_second": round(count / encoding_seconds, 1),
            "faiss_version": importlib.metadata.version("faiss-cpu"),
        }
        write_information(folder, information)


def searched_text(passage: Passage) -> str:
    """Return the text to encode: title, section and text, which BM25 searches too."""
    return "\n".join(part for part in (passage.title, passage.section, passage.text) if part)


def _encode(
    passages: Iterable[Passage],
    encoder: PassageEncoder,
    file: Path,
    progress: Callable[[int], None] | None,
) -> np.ndarray:
    """Return vectors of all passages, shape `(passages, dimension)`, mapped from a file."""
    count, dimension = 0, 0
    iterator = iter(passages)
    with file.open("wb") as written:
        while chunk := list(islice(iterator, _CHUNK_PASSAGES)):
            vectors = encoder.encode([searched_text(passage) for passage in chunk])
            written.write(np.ascontiguousarray(vectors, np.float32).data)
            count, dimension = count + len(chunk), vectors.shape[1]
            if progress is not None:
                progress(count)
    if count == 0:
        raise IndexBuildError(
            "There are no passages to index. Expected at least one: check that the Wikipedia "
            "source has articles with text."
        )
    return np.memmap(file, np.float32, mode="r", shape=(count, dimension))


def faiss_reason(error: Exception) -> str:
    """Return the message of FAISS without the position in its source code."""
    return str(error).rpartition(".cpp:")[2].partition(": ")[2]


def _empty_index(dimension: int, index_factory: str) -> Any:
    import faiss

    index: Any = faiss.index_factory(dimension, index_factory, faiss.METRIC_INNER_PRODUCT)
    if cells := faiss.try_extract_index_ivf(index):
        cells.nprobe = _PROBES
    return index


def _fill(index: Any, vectors: np.ndarray) -> None:
    """Train an index, add vectors, and check that it can return them by row."""
    import faiss

    index.train(vectors)
    for start in range(0, len(vectors), _CHUNK_PASSAGES):
        index.add(vectors[start : start + _CHUNK_PASSAGES])
    if cells := faiss.try_extract_index_ivf(index):
        cells.make_direct_map()
    index.reconstruct(0)


@contextmanager
def _faiss_errors(index_factory: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise IndexBuildError(
            f"FAISS cannot build an index {index_factory!r} (passage_index.index_factory): "
            f"{faiss_reason(error)}. Expected a string for `faiss.index_factory` whose index "
            "returns vectors by row, such as Flat, or IVF1024,PQ64np for many passages."
        ) from error
