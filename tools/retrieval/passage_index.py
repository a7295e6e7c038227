"""Builds the index of dense passage vectors that is searched beside BM25, in FAISS.

    passages -> encoder -> vectors in one temporary file -> FAISS index, exact or compressed

A vector's row is the id of its passage, whose text the Wikipedia index holds. The index is a folder
that appears whole, by renaming; a build that is killed begins anew.
"""

import importlib.metadata
import math
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tools.retrieval.encoder import TextEncoder
from tools.retrieval.index_folder import (
    IndexBuildError,
    read_information,
    sole_builder,
    write_information,
)
from tools.retrieval.passages import Passage
from tools.retrieval.word_vectors import WORDLLAMA, WordVectors

PASSAGE_INDEX_FORMAT = 2
VECTORS_FILE = "vectors.faiss"
FLAT = "Flat"

_CHUNK_PASSAGES = 10_000
# Up to so many, 200 MB of wordllama's vectors, a question is compared with every passage.
_FLAT_LIMIT = 200_000
_SAMPLE_PASSAGES = 100_000
# What FAISS's authors advise: about 4 cells per square root of the vectors, and at least 39
# vectors to train a centroid on.
_CELLS_PER_ROOT = 4
_TRAINED_ON_PER_CENTROID = 39
# A power of two: as many parts as divide a vector's dimension become a byte each.
_CODE_BYTES = 64


PassageEncoder: TypeAlias = TextEncoder | WordVectors


def open_encoder(settings: Mapping[str, Any], device: Callable[[], str]) -> PassageEncoder:
    """The encoder that settings, or the `index.json` of a passage index, name.

    Args:
        settings: `encoder`, which is `wordllama` or the directory of a Hugging Face encoder; of the
            latter also `similarity` and `encoder_tokens`.
        device: Gives the device of a Hugging Face encoder when it is loaded.
    """
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
    progress: Callable[[int], None] | None = None,
) -> None:
    """Build the index in a folder beside `directory`, as `sole_builder`, and rename it into place.

    Args:
        passages: What to index, read once; the id of each is its running number.
        fingerprint: Identifies passages and encoder.
        wikipedia_index: The fingerprint of the index that holds the same passages.

    Raises:
        IndexBuildError: When there are no passages, or when `directory` holds something else than
            an index of ours.
        ToolUnavailableError: When the encoder cannot be loaded.
        OSError: When the folder cannot be written.
    """
    directory = Path(directory).absolute()
    with sole_builder(
        directory, fingerprint=fingerprint, index_format=PASSAGE_INDEX_FORMAT
    ) as folder:
        if folder is None:
            return
        started = time.perf_counter()
        # Now: whatever lies in its place hours later, the vectors are of this one.
        identity = encoder.identity
        vectors = _encode(passages, encoder, folder / "vectors.f32", progress)
        encoding_seconds = time.perf_counter() - started
        layout = _write_faiss_index(vectors, folder / VECTORS_FILE)
        count, dimension = vectors.shape
        del vectors
        (folder / "vectors.f32").unlink()
        information = {
            "format": PASSAGE_INDEX_FORMAT,
            "fingerprint": fingerprint,
            "wikipedia_index": wikipedia_index,
            "passages": count,
            "dimension": dimension,
            "index": layout,
            **encoder.settings,
            "encoder_identity": identity,
            "bytes": (folder / VECTORS_FILE).stat().st_size,
            "seconds": round(time.perf_counter() - started, 3),
            "encoded_per_second": round(count / encoding_seconds, 1),
            "faiss_version": importlib.metadata.version("faiss-cpu"),
        }
        write_information(folder, information)


def passage_index_information(directory: Path) -> dict[str, Any] | None:
    """What `build_passage_index` stored about an index, as `read_information`."""
    return read_information(directory, index_format=PASSAGE_INDEX_FORMAT)


def searched_text(passage: Passage) -> str:
    """What is encoded of a passage: title, section and text, as BM25 searches them."""
    return "\n".join(part for part in (passage.title, passage.section, passage.text) if part)


def _encode(
    passages: Iterable[Passage],
    encoder: PassageEncoder,
    file: Path,
    progress: Callable[[int], None] | None,
) -> np.ndarray:
    """Vectors of all passages, shape `(passages, dimension)`, mapped from a file."""
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


def _write_faiss_index(vectors: np.ndarray, file: Path) -> str:
    """Write an index that compares by inner product; returns its kind in FAISS's words."""
    import faiss

    count, dimension = vectors.shape
    rows = np.arange(count)
    if count > _SAMPLE_PASSAGES:
        rows = np.sort(np.random.default_rng(0).choice(count, _SAMPLE_PASSAGES, replace=False))
    layout = FLAT
    if count > _FLAT_LIMIT:
        cells = int(_CELLS_PER_ROOT * math.sqrt(count))
        cells = min(cells, len(rows) // _TRAINED_ON_PER_CENTROID)
        # `np`: without FAISS's training for a filter by Hamming distance, which no search here uses
        # and which takes 90 s however few the vectors are.
        layout = f"IVF{cells},PQ{math.gcd(_CODE_BYTES, dimension)}np"
    index: Any = faiss.index_factory(dimension, layout, faiss.METRIC_INNER_PRODUCT)
    if layout != FLAT:
        index.train(vectors[rows])
    for start in range(0, count, _CHUNK_PASSAGES):
        index.add(vectors[start : start + _CHUNK_PASSAGES])
    if layout != FLAT:
        # Where each vector lies, so that it can be read by its number.
        index.make_direct_map()
    faiss.write_index(index, str(file))
    return layout
