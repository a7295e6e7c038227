"""Builds the index of dense passage vectors that question answering searches, in FAISS.

    passages -> chunk files -> encoder, fitted on a sample -> vectors by chunk -> FAISS index

Every step is a file that appears whole, in a folder beside the index, so a build that is killed
goes on after its last finished chunk. The index itself is a folder that appears by renaming. Does
not know encoders (`tools.latent_vectors`, `tools.encoder`) and does not search
(`tools.dense_ranking`).
"""

import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock

from tools.dense_vectors import DenseIndexKind, write_faiss_index
from tools.encoder import KIND as TEXT_ENCODER
from tools.encoder import TextEncoder
from tools.index_folder import (
    IndexBuildError,
    check_replaceable,
    move_into_place,
    read_information,
    remove_leftovers,
    temporary_folder,
    write_information,
)
from tools.latent_vectors import ENCODER_FILE, LatentVectors
from tools.passages import Passage

DENSE_FORMAT = 1
VECTORS_FILE, PASSAGES_FILE, OFFSETS_FILE = "vectors.faiss", "passages.jsonl", "offsets.npy"
ENCODER_FOLDER = "encoder"

_PLAN_FILE, _COUNT_FILE = "plan.json", "count.json"


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
    """

    fingerprint: str
    make_encoder: Callable[[Sequence[str]], PassageEncoder]
    sample_passages: int
    chunk_passages: int
    kind: DenseIndexKind
    seed: int


def build_dense_index(
    passages: Iterable[Passage],
    directory: Path,
    build: DenseBuild,
    *,
    progress: Callable[[int, int], None] | None = None,
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

    Raises:
        IndexBuildError: When there are no passages or they have no vectors, or when `directory`
            holds something else than an index of ours.
        ToolUnavailableError: When the encoder cannot be loaded.
        OSError: When the folder cannot be written.
    """
    directory = Path(directory).absolute()
    check_replaceable(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    before = dense_index_information(directory)
    with FileLock(directory.parent / f"{directory.name}.lock"):
        found = dense_index_information(directory)
        # A build that ran while this one waited for the lock has done the work.
        if found is not None and found["fingerprint"] == build.fingerprint and found != before:
            return
        remove_leftovers(directory)
        work = _work_folder(directory, build)
        started = time.perf_counter()
        count = _write_passages(passages, work, build.chunk_passages)
        encoder = _encoder(work, count, build)
        encode_started = time.perf_counter()
        encoded = _write_vectors(work, count, encoder, build.chunk_passages, progress)
        encoding_seconds = time.perf_counter() - encode_started
        folder = temporary_folder(directory)
        try:
            layout = write_faiss_index(
                _VectorChunks(work, _chunks(count, build.chunk_passages)),
                folder / VECTORS_FILE,
                build.kind,
                sample=_sample(count, build.sample_passages, build.seed),
            )
            _join_passages(work, folder, count)
            shutil.copytree(work / ENCODER_FOLDER, folder / ENCODER_FOLDER)
            write_information(
                folder,
                {
                    "format": DENSE_FORMAT,
                    "fingerprint": build.fingerprint,
                    "passages": count,
                    "dimension": encoder.dimension,
                    **layout,
                    **encoder.information(),
                    "bytes": sum(file.stat().st_size for file in folder.rglob("*.*")),
                    "seconds": round(time.perf_counter() - started, 3),
                    "encoded_per_second": round(encoded / max(encoding_seconds, 1e-9), 1),
                    "faiss_version": importlib.metadata.version("faiss-cpu"),
                },
            )
            move_into_place(folder, directory)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def dense_index_information(directory: Path) -> dict[str, Any] | None:
    """Read what is known about an index of dense vectors, without FAISS.

    Args:
        directory: The folder of the index.

    Returns:
        At least `fingerprint`, `passages` and `dimension`; also the kind, the encoder and the time
        of building. None where there is no complete index in this form.
    """
    return read_information(directory, index_format=DENSE_FORMAT)


def load_encoder(folder: Path) -> PassageEncoder:
    """Read the encoder of an index.

    Args:
        folder: Where `PassageEncoder.save` wrote it.

    Raises:
        ToolUnavailableError: When a pretrained encoder is not where it was.
    """
    kind = json.loads((folder / ENCODER_FILE).read_text("utf-8"))["kind"]
    return TextEncoder.load(folder) if kind == TEXT_ENCODER else LatentVectors.load(folder)


def searched_text(passage: Passage) -> str:
    """What is encoded of a passage: title, section and text, as BM25 searches them."""
    return "\n".join(part for part in (passage.title, passage.section, passage.text) if part)


def _work_folder(directory: Path, build: DenseBuild) -> Path:
    """The folder of the unfinished build; emptied when it was begun with other settings."""
    work = directory.parent / f"{directory.name}.building"
    plan = json.dumps({"fingerprint": build.fingerprint, "chunk": build.chunk_passages})
    file = work / _PLAN_FILE
    if work.exists() and not (file.is_file() and file.read_text("utf-8") == plan):
        shutil.rmtree(work)
    work.mkdir(exist_ok=True)
    _write_whole(file, lambda part: part.write_text(plan, encoding="utf-8"))
    return work


def _write_passages(passages: Iterable[Passage], work: Path, chunk_passages: int) -> int:
    """Write the passages in chunks; return how many there are."""
    counted = work / _COUNT_FILE
    if counted.is_file():
        return json.loads(counted.read_text("utf-8"))
    chunks = len(list(work.glob("passages-*.jsonl")))
    count = chunks * chunk_passages
    iterator = islice(passages, count, None)
    while chunk := list(islice(iterator, chunk_passages)):
        lines = "".join(f"{json.dumps(asdict(passage))}\n" for passage in chunk)
        _write_whole(
            _chunk_file(work, "passages", chunks, "jsonl"),
            lambda part, lines=lines: part.write_text(lines, encoding="utf-8"),
        )
        chunks, count = chunks + 1, count + len(chunk)
    if count == 0:
        raise IndexBuildError(
            "There are no passages to index. Expected at least one: check that the Wikipedia "
            "source has articles with text."
        )
    _write_whole(counted, lambda part: part.write_text(json.dumps(count), encoding="utf-8"))
    return count


def _encoder(work: Path, count: int, build: DenseBuild) -> PassageEncoder:
    """The encoder of an interrupted build, or a new one."""
    folder = work / ENCODER_FOLDER
    if not folder.exists():
        wanted = set(_sample(count, build.sample_passages, build.seed).tolist())
        texts = [
            searched_text(passage)
            for place, passage in enumerate(_read_passages(work, count, build.chunk_passages))
            if place in wanted
        ]
        try:
            encoder = build.make_encoder(texts)
        except ValueError as error:
            raise IndexBuildError(str(error)) from error
        part = work / f"{ENCODER_FOLDER}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        encoder.save(part)
        part.rename(folder)
    # Read back also when it was just made, so that both ways give the same vectors.
    return load_encoder(folder)


def _write_vectors(
    work: Path,
    count: int,
    encoder: PassageEncoder,
    chunk_passages: int,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Encode the chunks that are not there; return how many passages that were."""
    encoded = 0
    for chunk in range(_chunks(count, chunk_passages)):
        file = _chunk_file(work, "vectors", chunk, "npy")
        if not file.exists():
            texts = [searched_text(passage) for passage in _read_chunk(work, chunk)]
            vectors = encoder.encode(texts)
            _write_whole(file, lambda part, vectors=vectors: _save(part, vectors))
            encoded += len(texts)
        if progress is not None:
            progress(min((chunk + 1) * chunk_passages, count), count)
    return encoded


def _join_passages(work: Path, folder: Path, count: int) -> None:
    """One file of all passages, and where each of its lines begins."""
    offsets, place = [0], 0
    with (folder / PASSAGES_FILE).open("wb") as joined:
        for file in sorted(work.glob("passages-*.jsonl")):
            for line in file.read_bytes().splitlines(keepends=True):
                joined.write(line)
                place += len(line)
                offsets.append(place)
    if len(offsets) != count + 1:
        raise IndexBuildError(
            f"{work} holds {len(offsets) - 1} passages. Expected {count}: remove the folder, then "
            "build the index again."
        )
    np.save(folder / OFFSETS_FILE, np.array(offsets, dtype=np.int64))


def _read_passages(work: Path, count: int, chunk_passages: int) -> Iterator[Passage]:
    for chunk in range(_chunks(count, chunk_passages)):
        yield from _read_chunk(work, chunk)


def _read_chunk(work: Path, chunk: int) -> list[Passage]:
    lines = _chunk_file(work, "passages", chunk, "jsonl").read_text("utf-8").splitlines()
    return [Passage(**json.loads(line)) for line in lines]


def _sample(count: int, most: int, seed: int) -> np.ndarray:
    """Places of a sample of the passages, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=most, replace=False))


def _chunks(count: int, chunk_passages: int) -> int:
    return -(-count // chunk_passages)


def _chunk_file(work: Path, name: str, chunk: int, suffix: str) -> Path:
    return work / f"{name}-{chunk:06d}.{suffix}"


def _write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it."""
    part = file.with_name(f"{file.name}.part")
    write(part)
    part.replace(file)


def _save(file: Path, vectors: np.ndarray) -> None:
    # Given a name, NumPy would add a suffix.
    with file.open("wb") as opened:
        np.save(opened, vectors)


class _VectorChunks(Sequence[np.ndarray]):
    """The vectors of a build by chunk, mapped into memory when they are asked for."""

    def __init__(self, work: Path, count: int) -> None:
        self._work = work
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, chunk: Any) -> Any:
        if not 0 <= chunk < self._count:
            raise IndexError(chunk)
        return np.load(_chunk_file(self._work, "vectors", chunk, "npy"), mmap_mode="r")
