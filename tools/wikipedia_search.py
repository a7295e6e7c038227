"""Implements WikiSearch: BM25 over passages of Wikipedia (paper, §3), or BM25 with dense vectors.

The answer is one snippet, `Title > Section > text`: the beginning of a passage, or the sentences
closest to the search term. A text never answers its own calls: passages of its own article, and
passages that it repeats, are skipped.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from tools.base import with_checked_settings
from tools.errors import ToolCallError
from tools.proposing.facts import propose_facts, query_before
from tools.protocol import Document, Proposal
from tools.retrieval.hybrid_ranking import HybridRetriever, PassageVectors
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import BM25_B, BM25_K1, Language, Passage
from tools.retrieval.retrieval_tool import LONGEST_QUERY, RankedPassage, RetrievalTool
from tools.retrieval.sentences import best_sentences
from tools.syntax import clean_result
from tools.text_overlap import OVERLAP_SHARE

_DEPTH_FACTOR = 10
_PROPOSED_WORDS = 10


class WikiSearch(RetrievalTool):
    """Tool that searches Wikipedia and answers with the best passage that is not the text's own.

    Args:
        index_directory: Folder written by `build_index`, or an index made by Pyserini.
        depth: Number of passages to rank before the text's own are skipped. If all are skipped, ten
            times as many are ranked.
        sentences: Number of sentences in an answer. The sentences that share most words with the
            search term are shown; if it is None, the beginning of the passage.
        passage_index: Folder written by `build_passage_index` over the same passages, for `hybrid`.
        device: Function that returns the device of the encoder, for `hybrid`.
        language: Language of the index; None for the one in its `index.json`, or else English.
    """

    name = "WikiSearch"
    description = "Finds the Wikipedia passage that matches a search term best."

    @with_checked_settings
    def __init__(
        self,
        index_directory: Path | str,
        *,
        k1: NonNegativeFloat = BM25_K1,
        b: Annotated[float, Field(ge=0, le=1)] = BM25_B,
        snippet_words: PositiveInt = 100,
        depth: PositiveInt = 20,
        sentences: PositiveInt | None = None,
        retriever: Literal["bm25", "hybrid"] = "bm25",
        passage_index: Path | str = "",
        device: Callable[[], str] = lambda: "cpu",
        language: Language | None = None,
    ) -> None:
        self.snippet_words = snippet_words
        self.depths = (depth, depth * _DEPTH_FACTOR)
        self.sentences = sentences
        self.retriever = PassageRanker(Path(index_directory), k1=k1, b=b, language=language)
        if retriever == "hybrid":
            vectors = PassageVectors(Path(passage_index), device=device)
            self.retriever = HybridRetriever(self.retriever, vectors)

    # A property, since answers change if the index is rebuilt while the tool exists.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (
            f"{self.sampling_version} snippet_words={self.snippet_words} depth={self.depths[0]} "
            f"overlap_share={OVERLAP_SHARE:g} sentences={self.sentences} "
            f"retriever=({self.retriever.version()})"
        )

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose names, years and numbers, with title and ten preceding words as search term."""
        return [
            replace(
                proposal,
                arguments=query_before(
                    document.text,
                    proposal.offset,
                    title=document.title,
                    words=_PROPOSED_WORDS,
                    characters=LONGEST_QUERY,
                )
                or None,
            )
            for proposal in propose_facts(document.text)
        ]

    def compared_texts(self, query: str, passage: Passage) -> Sequence[str]:
        """Return the shown part of a passage, and all of it: a text may repeat only that part."""
        shown = cut_words(self._shortened(passage, query).text, self.snippet_words)
        return (shown, passage.text)

    def read(
        self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]
    ) -> list[str | ToolCallError]:
        """Return the first passage of each request as a snippet."""
        return [
            format_snippet(self._shortened(passages[0].passage, query), self.snippet_words)
            for query, passages in requests
        ]

    def _shortened(self, passage: Passage, query: str) -> Passage:
        if self.sentences is None:
            return passage
        return replace(passage, text=best_sentences(passage.text, query, self.sentences))


def format_snippet(passage: Passage, snippet_words: int) -> str:
    """Return a passage as an answer, with at most `snippet_words` words of its text.

    Example:
        >>> format_snippet(Passage("1", "Suez Canal", "History", "It opened in 1869.", ""), 3)
        'Suez Canal > History > It opened in'
    """
    parts = (passage.title, passage.section, cut_words(passage.text, snippet_words))
    return " > ".join(part for part in map(clean_result, parts) if part)


def cut_words(text: str, max_words: int) -> str:
    """Return at most so many words of a text.

    Example:
        >>> cut_words("The canal  opened in 1869.", 3)
        'The canal opened'
    """
    return " ".join(text.split()[:max_words])
