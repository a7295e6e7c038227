"""Ranks the passages of a FAISS index that was made elsewhere, for QA.

Vector n belongs to row n of a file of passages, from 0. These are copied once to a folder of the
machine, where one is read without the others, and which knows the digest of both files.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolformer.base.digests import hex_digest, hex_digest_of_file
from toolformer.base.unused import remove_unused
from tools.errors import ToolUnavailableError
from tools.retrieval import index_folder
from tools.retrieval.dense_ranking import open_faiss_index
from tools.retrieval.hybrid_ranking import DenseRetriever
from tools.retrieval.passage_index import PassageEncoder
from tools.retrieval.passages import PASSAGE_FIELDS, StoredPassage, read_passage, stored_passage

_FORMAT = 1
_COPY = "passages.arrow"
_REMEDY = (
    "Correct question_answering.index_file, question_answering.passages_file or "
    "passage_index.encoder in toolformer.yaml"
)


class ExistingIndex:
    """A `tools.retrieval.retrieval_tool.Retriever`, usable from several threads, one at a time.

    Args:
        index: As `faiss.write_index` writes it; compares by inner product or L2 distance.
        passages: JSON Lines, TSV or Parquet; see `read_passage`.
        encoder: The one that the index was made with.
        folder: Where copies are kept.
    """

    def __init__(
        self, index: Path, passages: Path, *, encoder: PassageEncoder, folder: Path
    ) -> None:
        self._files = index, passages
        self._encoder = encoder
        self._folder = folder / hex_digest(*self._files)
        self._opened: tuple[Mapping[str, Any], Any, Any] | None = None
        self._lock = threading.RLock()

    def version(self) -> str:
        """Settings, the digest of both files, and the encoder."""
        index = f"index={self._information()['content']} encoder={self._encoder.identity}"
        return f"existing temperature={DenseRetriever.temperature:g} {index}"

    def check_available(self) -> None:
        """Check files and encoder; files are read where they changed since they were copied."""
        there, expected = self._information()["dimension"], self._encoder.dimension
        if there != expected:
            raise _unavailable(
                f"{self._files[0]} has vectors of {there} numbers, and the encoder "
                f"{self._encoder.settings['encoder']} gives {expected}"
            )

    def rank(self, queries: Sequence[str], depth: int) -> list[list[StoredPassage]]:
        """See `Retriever`: score descending, equal scores by number."""
        with self._lock:
            # One by one, as in `PassageVectors.near`.
            return [self._rank(*self._open(), query, depth) for query in queries]

    def _rank(self, index: Any, passages: Any, query: str, depth: int) -> list[StoredPassage]:
        vector = self._encoder.encode([query])
        if not vector.any():
            return []
        (scores,), (rows,) = index.search(vector, min(depth, index.ntotal))
        if index.metric_type == 1:
            # Of vectors of one length, half the square of a distance differs as the product does.
            scores = scores / -2
        hits = sorted(zip(-scores / DenseRetriever.temperature, map(int, rows), strict=True))
        found = [
            (*passages.slice(row, 1).to_pylist(), str(row), hit) for hit, row in hits if row >= 0
        ]
        return [stored_passage(read_passage(of, name), -float(hit)) for of, name, hit in found]

    def _open(self) -> tuple[Any, Any]:
        """Index and passages; opened on first use and when a file was changed."""
        import pyarrow as pa

        # What is opened of files that are replaced meanwhile may not belong together.
        while self._opened is None or self._opened[0] != self._information():
            information = self._information()
            self.check_available()
            index_folder.check_files(self._folder, "QA")
            copy = pa.ipc.open_file(pa.memory_map(str(self._folder / _COPY))).read_all()
            self._opened = information, open_faiss_index(self._files[0], _REMEDY), copy
            remove_unused(self._folder.parent.glob("*/"), used=self._folder)
        return self._opened[1:]

    def _information(self) -> Mapping[str, Any]:
        """What is known about the files as they are now; ToolUnavailableError if it is no use."""
        with self._lock:
            try:
                status = [file.stat() for file in self._files]
            except OSError as error:
                raise _unavailable(f"{error.filename} cannot be read ({error.strerror})") from error
            state = hex_digest(*((at.st_size, at.st_mtime_ns, at.st_ctime_ns) for at in status))
            known = index_folder.read_information(self._folder, index_format=_FORMAT)
            if known is not None and known["fingerprint"] == state:
                return known
            wanted: dict[str, Any] = {"fingerprint": state, "index_format": _FORMAT}
            with index_folder.sole_builder(self._folder, **wanted) as folder:
                if folder is not None:
                    facts = {"format": _FORMAT, "fingerprint": state, **self._copy(folder / _COPY)}
                    index_folder.write_information(folder, facts)
            return self._information()

    def _copy(self, copy: Path) -> Mapping[str, Any]:
        import polars as pl
        import pyarrow as pa

        file, passages = self._files
        index = open_faiss_index(file, _REMEDY)
        if index.metric_type not in (0, 1):
            raise _unavailable(f"{file} compares vectors neither by inner product nor L2 distance")
        try:
            if passages.suffix == ".parquet":
                _copy_parquet(passages, copy)
            else:
                _scan(passages).sink_ipc(copy)
            text = pl.concat_str("text", "contents", ignore_nulls=True).str.strip_chars()
            counted = pl.scan_ipc(copy).select(pl.len(), (text == "").sum().alias("empty"))
            ((count, empty),) = counted.collect().rows()
        except (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            raise _unavailable(f"{passages} cannot be read ({reason})") from error
        if empty or not count or not np.array_equal(_numbers(index), np.arange(count)):
            raise _unavailable(
                f"{passages} has {count:,} passages ({empty:,} without `text` or `contents`), and "
                f"{file} has {index.ntotal:,} vectors. Expected one for each, and vectors that are "
                "numbered as the rows, from 0"
            )
        digest = hex_digest(*map(hex_digest_of_file, self._files))
        return {"passages": count, "dimension": index.d, "content": digest}


def _numbers(index: Any) -> np.ndarray:
    """The numbers of an index's vectors in ascending order; whoever adds them may choose others."""
    import faiss

    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    if hasattr(index, "id_map"):
        return np.sort(faiss.vector_to_array(index.id_map))
    if cells := faiss.try_extract_index_ivf(index):
        lists: Any = cells.invlists
        sizes = {cell: size for cell in range(cells.nlist) if (size := lists.list_size(cell))}
        found = [faiss.rev_swig_ptr(lists.get_ids(cell), size) for cell, size in sizes.items()]
        return np.sort(np.concatenate(found or [np.arange(0)]))
    return np.arange(index.ntotal)


def _scan(file: Path) -> Any:
    """The fields of a file's passages, NULL where it has none; ValueError for another suffix."""
    import polars as pl

    if file.suffix == ".jsonl":
        rows = pl.scan_ndjson(file, schema=dict.fromkeys(PASSAGE_FIELDS, pl.String))
    elif file.suffix == ".tsv":
        rows = pl.scan_csv(file, separator="\t", infer_schema=False)
    else:
        raise ValueError("its name ends in none of .jsonl, .tsv and .parquet")
    names = rows.collect_schema().names()
    absent = [pl.lit(None, pl.String).alias(name) for name in {*PASSAGE_FIELDS}.difference(names)]
    return rows.with_columns(absent).select(pl.col(PASSAGE_FIELDS).cast(pl.String))


def _copy_parquet(file: Path, copy: Path) -> None:
    """The same of Parquet, by Arrow: of a damaged file Polars panics, or ends the process."""
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.large_string()
    schema = pa.schema([(name, text) for name in PASSAGE_FIELDS])
    with (
        parquet.ParquetFile(file, page_checksum_verification=True) as rows,
        pa.ipc.new_file(copy, schema) as writer,
    ):
        names = [name for name in PASSAGE_FIELDS if name in rows.schema_arrow.names]
        for batch in rows.iter_batches(columns=names):
            absent = pa.nulls(len(batch), text)
            cells = [batch[n].cast(text) if n in names else absent for n in PASSAGE_FIELDS]
            written = pa.record_batch(cells, schema)
            written.validate(full=True)
            writer.write(written)


def _unavailable(reason: str) -> ToolUnavailableError:
    return ToolUnavailableError("QA", reason, _REMEDY)
