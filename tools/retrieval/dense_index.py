"""Builds the index of dense passage vectors that question answering searches, in FAISS.

    passages -> chunk files -> encoder, fitted on a sample -> vectors by chunk -> FAISS index

Every step is a file that appears whole, in a folder beside the index, so a build that is killed
goes on after its last finished chunk. The index itself is a folder that appears by renaming. Does
not know encoders (`tools.retrieval.latent_vectors`, `tools.retrieval.encoder`) and does not search
(`tools.retrieval.dense_ranking`).
"""

import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolformer.ground.locking import Lock
from tools.retrieval.dense_vectors import DenseIndexKind, write_faiss_index
from tools.retrieval.encoder import KIND as TEXT_ENCODER
from tools.retrieval.encoder import TextEncoder
from tools.retrieval.index_folder import (
    IndexBuildError,
    move_into_place,
    read_information,
    sole_builder,
    temporary_folder,
    write_information,
)
from tools.retrieval.latent_vectors import ENCODER_FILE, LatentVectors
from tools.retrieval.passages import Passage
from tools.retrieval.unfinished_index import UnfinishedIndex

DENSE_FORMAT = 1
VECTORS_FILE, PASSAGES_FILE, OFFSETS_FILE = "vectors.faiss", "passages.jsonl", "offsets.npy"
ENCODER_FOLDER = "encoder"


class PassageEncoder(Protocol):
    """Turns texts into vectors; questions and passages alike."""

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, float32, shape `(texts, dimension)`."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load_encoder` reads."""
        ...

    def information(self) -> dict[str, Any]:
        """What is worth knowing, for `index.json`."""
        ...


@dataclass(frozen=True, slots=True)
class DenseBuild:
    """How an index is built.

    Attributes:
        fingerprint: Identifies passages and settings; stored, and returned by
            `dense_index_information`.
        make_encoder: Gives the encoder, from the texts of a sample of the passages.
        sample_passages: Most passages of that sample, and of the one that FAISS is trained on.
        chunk_passages: Passages that are encoded at once: what a kill loses.
        kind: Flat or compressed, by size.
        seed: Of the samples.
        device: Gives the device of a pretrained encoder, also where the building goes on.
    """

    fingerprint: str
    make_encoder: Callable[[Sequence[str]], PassageEncoder]
    sample_passages: int
    chunk_passages: int
    kind: DenseIndexKind
    seed: int
    device: Callable[[], str] | None = None


def build_dense_index(
    passages: Iterable[Passage],
    directory: Path,
    build: DenseBuild,
    *,
    progress: Callable[[int, int], None] | None = None,
    lock: Lock | None = None,
) -> None:
    """Build an index, or go on with one whose building was interrupted.

    One process builds at a time; another one waits, and finds the work done where its fingerprint
    is the same.

    Args:
        passages: What to index, read once and in the same order every time. Ids must be unique,
            which is not checked.
        directory: Where the index goes; an older index there is replaced.
        build: How.
        progress: Called after each chunk with the passages encoded so far, and all of them.
        lock: Held while it is built; None is a file beside the index.

    Raises:
        IndexBuildError: When there are no passages or they have no vectors, or when `directory`
            holds something else than an index of ours.
        ToolUnavailableError: When the encoder cannot be loaded.
        OSError: When the folder cannot be written.
    """
    directory = Path(directory).absolute()
    with sole_builder(
        directory, fingerprint=build.fingerprint, index_format=DENSE_FORMAT, lock=lock
    ) as built_meanwhile:
        if built_meanwhile is None:
            _build(passages, directory, build, progress)


def dense_index_information(directory: Path) -> dict[str, Any] | None:
    """Read what is known about an index of dense vectors, without FAISS.

    Args:
        directory: The folder of the index.

    Returns:
        At least `fingerprint`, `passages` and `dimension`; also the kind, the encoder and the time
        of building. None where there is no complete index in this form.
    """
    return read_information(directory, index_format=DENSE_FORMAT)


def load_encoder(folder: Path, device: Callable[[], str] | None = None) -> PassageEncoder:
    """Read the encoder of an index.

    Args:
        folder: Where `PassageEncoder.save` wrote it.
        device: Gives the device of a pretrained encoder; by default the one it was saved with.

    Raises:
        ToolUnavailableError: When a pretrained encoder is not where it was.
    """
    kind = json.loads((folder / ENCODER_FILE).read_text("utf-8"))["kind"]
    return TextEncoder.load(folder, device) if kind == TEXT_ENCODER else LatentVectors.load(folder)


def searched_text(passage: Passage) -> str:
    """What is encoded of a passage: title, section and text, as BM25 searches them."""
    return "\n".join(part for part in (passage.title, passage.section, passage.text) if part)


def _build(
    passages: Iterable[Passage],
    directory: Path,
    build: DenseBuild,
    progress: Callable[[int, int], None] | None,
) -> None:
    started = time.perf_counter()
    work = UnfinishedIndex(
        directory.parent / f"{directory.name}.building",
        fingerprint=build.fingerprint,
        chunk_passages=build.chunk_passages,
    )
    count = work.write_passages(passages)
    sample = _sample(count, build.sample_passages, build.seed)
    encoder_folder = work.encoder_folder(lambda folder: _make_encoder(work, build, sample, folder))
    # Read back also when it was just made, so that both ways give the same vectors.
    encoder = load_encoder(encoder_folder, build.device)
    encoded, encoding_started = 0, time.perf_counter()
    for chunk in range(work.chunks):
        encoded += work.write_vectors(
            chunk, lambda of_chunk: encoder.encode([searched_text(each) for each in of_chunk])
        )
        if progress is not None:
            progress(min((chunk + 1) * build.chunk_passages, count), count)
    encoding_seconds = time.perf_counter() - encoding_started
    folder = temporary_folder(directory)
    try:
        layout = write_faiss_index(work.vectors(), folder / VECTORS_FILE, build.kind, sample=sample)
        work.join_passages(folder / PASSAGES_FILE, folder / OFFSETS_FILE)
        shutil.copytree(encoder_folder, folder / ENCODER_FOLDER)
        information = {
            "format": DENSE_FORMAT,
            "fingerprint": build.fingerprint,
            "passages": count,
            "dimension": encoder.dimension,
            **layout,
            **encoder.information(),
            "bytes": sum(file.stat().st_size for file in folder.rglob("*.*")),
            "seconds": round(time.perf_counter() - started, 3),
            "faiss_version": importlib.metadata.version("faiss-cpu"),
        }
        if encoded:
            information["encoded_per_second"] = round(encoded / encoding_seconds, 1)
        write_information(folder, information)
        move_into_place(folder, directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    work.remove()


def _make_encoder(
    work: UnfinishedIndex, build: DenseBuild, sample: np.ndarray, folder: Path
) -> None:
    wanted = set(sample.tolist())
    texts = [
        searched_text(passage) for place, passage in enumerate(work.passages()) if place in wanted
    ]
    try:
        encoder = build.make_encoder(texts)
    except ValueError as error:
        raise IndexBuildError(str(error)) from error
    encoder.save(folder)


def _sample(count: int, most: int, seed: int) -> np.ndarray:
    """Places of a sample of the passages, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=most, replace=False))
