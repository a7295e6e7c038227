"""Ranks passages of a Lucene index by BM25 with Anserini, the Java library inside pyserini.

Java starts at the first ranking. Pyserini's own searcher is not imported, since it spends seconds
on importing torch and transformers for its neural encoders.
"""

import json
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from toolformer.base.digests import file_digest
from tools.errors import ToolDiedError, ToolUnavailableError
from tools.retrieval.index_folder import index_information
from tools.retrieval.java import find_java, pyserini_jar, start_jvm
from tools.retrieval.passages import (
    ENGLISH,
    PASSAGE_FIELDS,
    Language,
    Passage,
    RankedPassage,
    passage_from_raw,
    read_passage,
)
from tools.syntax import single_line

NO_INDEX = "none"

_TOOL_NAME = "WikiSearch"
# Anserini's batch search is not thread-safe, even with separate searchers. QA and WikiSearch run at
# the same time, each with its own ranker.
_LUCENE = threading.Lock()
_BUILD_REMEDY = (
    "Materialise wikipedia_index: run `toolformer build`, or press Materialize on that asset in "
    "the UI. Or set tools.WikiSearch.options.index_directory to the folder of another index"
)
# Number of Java threads per batch. Rankings do not depend on it.
_THREADS = 2


class PassageRanker:
    """BM25 searcher over one index. Threads may share it, but Lucene searches for one at a time.

    Args:
        directory: Folder written by `build_index`, or an index made by Pyserini that stores texts,
            as `raw` JSON or in fields; see `read_passage`.
        temperature: Difference in BM25 score that makes a passage e times as probable.
    """

    def __init__(
        self,
        directory: Path,
        *,
        k1: float,
        b: float,
        temperature: float = 1.0,
        language: Language | None = None,
    ) -> None:
        self.directory = directory
        self._k1 = k1
        self._b = b
        self._temperature = temperature
        self._language = language
        self._searcher: Any = None
        self._searcher_fingerprint = NO_INDEX
        self._is_built_here = True

    def fingerprint(self) -> str:
        """Return the fingerprint of the current index; `NO_INDEX` if there is none."""
        information = index_information(self.directory)
        if information is not None:
            return information["fingerprint"]
        # The commit file identifies an index made elsewhere: it names each segment by a random id.
        commits = sorted(self.directory.glob("segments_*"), key=lambda path: (len(path.name), path))
        if not commits:
            return NO_INDEX
        return f"segments-{file_digest(commits[-1])[:16]}"

    def language(self) -> str:
        return self._language or (index_information(self.directory) or {}).get("language", ENGLISH)

    def version(self) -> str:
        language = self.language()
        return (
            f"{pyserini_jar().stem} bm25 k1={self._k1:g} b={self._b:g} "
            f"temperature={self._temperature:g} "
            f"{'' if language == ENGLISH else f'language={language} '}index={self.fingerprint()}"
        )

    def check_available(self) -> None:
        """Check that index, pyserini and Java exist, without starting Java."""
        if self.fingerprint() == NO_INDEX:
            raise self._unusable("does not exist", _BUILD_REMEDY)
        pyserini_jar()
        find_java()

    def rank(self, queries: Sequence[str], depth: int) -> list[list[RankedPassage]]:
        """Rank passages for each query: score descending, equal scores by passage id.

        Scores are Anserini's BM25 (rounded to four decimals, minus a millionth for each preceding
        passage with the same rounded score), divided by the temperature.
        """
        texts = [_query_text(query) for query in queries]
        distinct = [text for text in dict.fromkeys(texts) if text]
        rankings: dict[str, list[RankedPassage]] = {"": []}
        if distinct:
            with _LUCENE:
                rankings |= self._search(self._open(), distinct, depth)
        return [rankings[text] for text in texts]

    def passages(self, passage_ids: Collection[str]) -> dict[str, Passage]:
        """Read passages by their ids, which must be in the index."""
        if not passage_ids:
            return {}
        with _LUCENE:
            searcher = self._open()
            with self._lucene_errors(f"read {len(passage_ids)} passages of {self.directory}"):
                documents = searcher.batch_get_docs(_java_list(passage_ids), _THREADS)
                return {
                    entry.getKey(): self._passage(entry.getValue(), entry.getKey())
                    for entry in documents.entrySet().toArray()
                }

    def _search(
        self, searcher: Any, texts: list[str], depth: int
    ) -> dict[str, list[RankedPassage]]:
        with self._lucene_errors(f"searched {self.directory} for {len(texts)} queries"):
            queries = _java_list(texts)
            hits = searcher.batch_search(queries, queries, depth, _THREADS)
            return {
                text: [
                    RankedPassage(
                        self._passage(hit.lucene_document, hit.docid),
                        float(hit.score) / self._temperature,
                    )
                    for hit in hits.get(text) or ()
                ]
                for text in texts
            }

    @contextmanager
    def _lucene_errors(self, work: str) -> Iterator[None]:
        from jnius import JavaException  # pyright: ignore[reportAttributeAccessIssue]

        try:
            yield
        except JavaException as error:
            raise ToolDiedError(
                f"Lucene failed while it {work}: {_first_line(error)}. Finished results are kept: "
                "run the same command again. If it fails again, remove that folder, and the next "
                "build creates the index again."
            ) from error

    def _passage(self, document: Any, passage_id: str) -> Passage:
        raw = document.get("raw")
        if self._is_built_here:
            return passage_from_raw(raw)
        with suppress(AttributeError, TypeError, ValueError):
            return read_passage(json.loads(raw), passage_id)
        try:
            return read_passage({name: document.get(name) for name in PASSAGE_FIELDS}, passage_id)
        except ValueError as error:
            stored = ", ".join(field.name() for field in document.getFields().toArray())
            raise self._unusable(
                f"stores no text of {passage_id!r}, but only the fields {stored}",
                "Build it with Pyserini's option -storeContents, or -storeRaw of JSON documents",
            ) from error

    def _unusable(self, reason: str, remedy: str) -> ToolUnavailableError:
        reason = f"the search index in {self.directory} {reason}"
        return ToolUnavailableError(_TOOL_NAME, reason, remedy)

    def _open(self) -> Any:
        """Return the searcher, opened at first use and after a rebuild of the index."""
        fingerprint = self.fingerprint()
        if self._searcher is not None and self._searcher_fingerprint == fingerprint:
            return self._searcher
        self.check_available()
        start_jvm(pyserini_jar())
        from jnius import JavaException, autoclass  # pyright: ignore[reportAttributeAccessIssue]

        try:
            searcher = autoclass("io.anserini.search.SimpleSearcher")(str(self.directory))
            searcher.set_bm25(float(self._k1), float(self._b))
            if self.language() != ENGLISH:
                searcher.set_language(self.language())
        except JavaException as error:
            remedy = f"Expected an index of Lucene 9, as made by Pyserini 1. {_BUILD_REMEDY}"
            if index_information(self.directory) is not None:
                remedy = f"Remove {self.directory}; the next build creates it again"
            raise self._unusable(f"cannot be opened ({_first_line(error)})", remedy) from error
        if self._searcher is not None:
            self._searcher.close()
        self._searcher, self._searcher_fingerprint = searcher, fingerprint
        self._is_built_here = index_information(self.directory) is not None
        return searcher


def _java_list(texts: Iterable[str]) -> Any:
    from jnius import autoclass  # pyright: ignore[reportAttributeAccessIssue]

    array = autoclass("java.util.ArrayList")()
    for text in texts:
        array.add(text)
    return array


def _query_text(query: str) -> str:
    """Replace what pyjnius corrupts by spaces: characters above U+FFFF and surrogates."""
    return single_line("".join(char if char <= "\uffff" else " " for char in query))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removeprefix("JVM exception occurred: ")
