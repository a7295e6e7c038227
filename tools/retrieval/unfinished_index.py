"""What is done of a dense index that is being built: chunk files that appear whole, by renaming.

    plan.json   passages-000000.jsonl …   count.json   encoder/   vectors-000000.npy …

A build that is killed goes on after its last file. Does not encode and does not know FAISS.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from toolformer.ground.whole_files import replacing, write_whole
from tools.retrieval.index_folder import IndexBuildError
from tools.retrieval.passages import Passage

_PLAN_FILE, _COUNT_FILE, _ENCODER_FOLDER = "plan.json", "count.json", "encoder"


class UnfinishedIndex:
    """The folder of an unfinished build; emptied when that was begun with other settings.

    Args:
        folder: Made where it is missing.
        fingerprint: Of the index.
        chunk_passages: Passages of a chunk.
    """

    def __init__(self, folder: Path, *, fingerprint: str, chunk_passages: int) -> None:
        self.folder = folder
        self._chunk_passages = chunk_passages
        plan = json.dumps({"fingerprint": fingerprint, "chunk_passages": chunk_passages})
        file = folder / _PLAN_FILE
        if folder.exists() and not (file.is_file() and file.read_text("utf-8") == plan):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        write_whole(file, plan, is_durable=False)

    def write_passages(self, passages: Iterable[Passage]) -> int:
        """Write the passages that are not there yet.

        Args:
            passages: All of them, in the same order every time.

        Returns:
            How many there are in all.

        Raises:
            IndexBuildError: When there are none.
        """
        counted = self.folder / _COUNT_FILE
        if counted.is_file():
            return self.count
        chunks = len(list(self.folder.glob("passages-*.jsonl")))
        count = chunks * self._chunk_passages
        iterator = islice(passages, count, None)
        while chunk := list(islice(iterator, self._chunk_passages)):
            lines = "".join(f"{json.dumps(asdict(passage))}\n" for passage in chunk)
            write_whole(self._passages_file(chunks), lines, is_durable=False)
            chunks, count = chunks + 1, count + len(chunk)
        if count == 0:
            raise IndexBuildError(
                "There are no passages to index. Expected at least one: check that the Wikipedia "
                "source has articles with text."
            )
        write_whole(counted, json.dumps(count), is_durable=False)
        return count

    @property
    def count(self) -> int:
        """Number of passages, once all are written."""
        return json.loads((self.folder / _COUNT_FILE).read_text("utf-8"))

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.count // self._chunk_passages)

    def passages(self) -> Iterator[Passage]:
        """All passages in their order."""
        for chunk in range(self.chunks):
            yield from self.passages_of(chunk)

    def passages_of(self, chunk: int) -> list[Passage]:
        """The passages of one chunk."""
        lines = self._passages_file(chunk).read_text("utf-8").splitlines()
        return [Passage(**json.loads(line)) for line in lines]

    def encoder_folder(self, save: Callable[[Path], None]) -> Path:
        """The folder of the encoder; where there is none, `save` writes it into an empty one."""
        folder = self.folder / _ENCODER_FOLDER
        if not folder.exists():
            part = self.folder / f"{_ENCODER_FOLDER}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            save(part)
            part.rename(folder)
        return folder

    def write_vectors(self, chunk: int, encode: Callable[[list[Passage]], np.ndarray]) -> int:
        """Write the vectors of a chunk unless they are there; returns how many were encoded."""
        file = self._vectors_file(chunk)
        if file.exists():
            return 0
        vectors = encode(self.passages_of(chunk))
        with replacing(file, is_durable=False) as part:
            _save(part, vectors)
        return len(vectors)

    def vectors(self) -> Sequence[np.ndarray]:
        """The vectors by chunk, mapped into memory when they are asked for."""
        return _VectorChunks([self._vectors_file(chunk) for chunk in range(self.chunks)])

    def join_passages(self, passages_file: Path, offsets_file: Path) -> None:
        """Write one file of all passages, and where each of its lines begins and the last ends."""
        offsets, place = [0], 0
        with passages_file.open("wb") as joined:
            for chunk in range(self.chunks):
                for line in self._passages_file(chunk).read_bytes().splitlines(keepends=True):
                    joined.write(line)
                    place += len(line)
                    offsets.append(place)
        _save(offsets_file, np.array(offsets, dtype=np.int64))

    def remove(self) -> None:
        """Remove everything, once the index is in its place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _passages_file(self, chunk: int) -> Path:
        return self.folder / f"passages-{chunk:06d}.jsonl"

    def _vectors_file(self, chunk: int) -> Path:
        return self.folder / f"vectors-{chunk:06d}.npy"


class _VectorChunks(Sequence[np.ndarray]):
    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, chunk: Any) -> Any:
        return np.load(self._files[chunk], mmap_mode="r")


def _save(file: Path, array: np.ndarray) -> None:
    # Given a name, NumPy would add a suffix.
    with file.open("wb") as opened:
        np.save(opened, array)
