"""FAISS indexes of dense vectors: exact where these are few, compressed where they are many.

    up to `flat_limit` vectors    all of them, compared one by one
    more                          IVF-PQ: cells by nearest centroid, vectors as a few bytes

Indexes compare by inner product. Does not know passages or encoders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.retrieval.index_folder import IndexBuildError

FLAT, COMPRESSED = "flat", "ivf-pq"

# What FAISS's authors advise: about 4 cells per square root of the vectors, and at least 39
# vectors to train a centroid on.
_CELLS_PER_ROOT = 4
_TRAINED_ON_PER_CENTROID = 39
_CODE_BITS = 8


@dataclass(frozen=True, slots=True)
class DenseIndexKind:
    """Flat or compressed.

    Attributes:
        flat_limit: Most vectors of a flat index.
        code_bytes: Bytes of a compressed vector; fewer where the dimension is no multiple.
    """

    flat_limit: int
    code_bytes: int


def write_faiss_index(
    chunks: Sequence[np.ndarray], file: Path, kind: DenseIndexKind, *, sample: np.ndarray
) -> dict[str, Any]:
    """Write a FAISS index.

    Args:
        chunks: Vectors, float32, each of shape `(rows, dimension)`; may read a chunk from a file
            whenever it is asked for it.
        file: Where the index is written.
        kind: Flat or compressed.
        sample: Rows, counted over all chunks and ascending, that a compressed index is trained on.

    Returns:
        The layout of the index, for `index.json`.

    Raises:
        IndexBuildError: When the sample is too small to train a compressed index.
    """
    import faiss

    count = sum(len(chunk) for chunk in chunks)
    dimension = chunks[0].shape[1]
    layout: dict[str, Any]
    if count <= kind.flat_limit:
        index, layout = faiss.IndexFlatIP(dimension), {"index": FLAT}
    else:
        index, layout = _trained(_rows_at(chunks, sample), kind, count)
    for chunk in chunks:
        index.add(np.ascontiguousarray(chunk, dtype=np.float32))
    faiss.write_index(index, str(file))
    return layout


def open_faiss_index(file: Path, layout: str, *, probes: int) -> Any:
    """Map an index into memory: its vectors are read from the file as they are needed.

    Args:
        file: What `write_faiss_index` wrote.
        layout: `FLAT` or `COMPRESSED`.
        probes: Cells of a compressed index that a search looks into.
    """
    import faiss

    # Each kind has a flag of its own, and a compressed index refuses that of the flat one.
    if layout == FLAT:
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    index: Any = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
    index.nprobe = probes
    return index


def _trained(vectors: np.ndarray, kind: DenseIndexKind, count: int) -> tuple[Any, dict[str, Any]]:
    """A compressed index without vectors, trained on some of them."""
    import faiss

    dimension = vectors.shape[1]
    centroids = 2**_CODE_BITS
    if len(vectors) < centroids:
        raise IndexBuildError(
            f"A compressed index is to be trained on {len(vectors)} passages. Expected at least "
            f"{centroids}: raise passage_index.flat_limit or passage_index.sample_passages."
        )
    cells = max(1, int(_CELLS_PER_ROOT * math.sqrt(count)))
    cells = min(cells, max(1, len(vectors) // _TRAINED_ON_PER_CENTROID))
    code_bytes = max(
        size for size in range(1, min(kind.code_bytes, dimension) + 1) if dimension % size == 0
    )
    index = faiss.IndexIVFPQ(
        faiss.IndexFlatIP(dimension),
        dimension,
        cells,
        code_bytes,
        _CODE_BITS,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.train(vectors)
    layout = {
        "index": COMPRESSED,
        "cells": cells,
        "code_bytes": code_bytes,
        "trained_on": len(vectors),
    }
    return index, layout


def _rows_at(chunks: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Chosen rows of all chunks."""
    chosen, start = [], 0
    for chunk in chunks:
        end = start + len(chunk)
        within = rows[(rows >= start) & (rows < end)]
        chosen.append(chunk[within - start])
        start = end
    return np.ascontiguousarray(np.concatenate(chosen), dtype=np.float32)
