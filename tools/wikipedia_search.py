"""WikiSearch: BM25 over passages of Wikipedia (paper, section 3), or BM25 with dense vectors.

Answers with one snippet, `Title > Section > text`: the beginning of a passage, or the sentences
that are nearest to the search term. A text never answers its own calls: passages of its own
article, and passages that it repeats, are passed over.
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

_DEEPER = 10
_PROPOSED_WORDS = 10


class WikiSearch(RetrievalTool):
    """Searches Wikipedia and answers with the best passage that is not the text's own.

    Args:
        index_directory: Folder made by `build_index`, or an index made by Pyserini; see
            `PassageRanker`.
        k1: BM25's saturation of term frequency, at least 0.
        b: BM25's weight of passage length, 0 to 1.
        snippet_words: Most words of a passage in an answer (the paper does not say; 100).
        depth: Passages fetched before those of the text itself are passed over; where all are,
            ten times as many are looked at.
        sentences: Sentences of a passage in an answer, those that share most words with the search
            term; None for the beginning of the passage.
        retriever: `bm25`, the paper's, or `hybrid`: see `tools.retrieval.hybrid_ranking`.
        passage_index: Folder made by `build_passage_index` over the same passages, for `hybrid`.
        device: Gives the device of a Hugging Face encoder, for `hybrid`.
        language: Of the index, such as `de`; None for the one that its `index.json` names, else
            English.
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
        self.depths = (depth, depth * _DEEPER)
        self.sentences = sentences
        self.retriever = PassageRanker(Path(index_directory), k1=k1, b=b, language=language)
        if retriever == "hybrid":
            vectors = PassageVectors(Path(passage_index), device=device)
            self.retriever = HybridRetriever(self.retriever, vectors)

    # A property, because answers change when the index is built anew during the tool's life.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everything that answers depend on, the fingerprint of the index included."""
        return (
            f"{self.sampling_version} snippet_words={self.snippet_words} depth={self.depths[0]} "
            f"overlap_share={OVERLAP_SHARE:g} sentences={self.sentences} "
            f"retriever=({self.retriever.version()})"
        )

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose names, years and numbers; the search term is title and ten words in front."""
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

    def compared(self, query: str, passage: Passage) -> Sequence[str]:
        """The passage, and what is shown of it: a long one may be copied there alone."""
        shown = cut_words(self._shortened(passage, query).text, self.snippet_words)
        return (shown, passage.text)

    def read(
        self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]
    ) -> list[str | ToolCallError]:
        """Write the first passage of each request as an answer.

        Returns:
            `Title > Section > text`, without the section where the passage has none.
        """
        return [
            format_snippet(self._shortened(passages[0].passage, query), self.snippet_words)
            for query, passages in requests
        ]

    def _shortened(self, passage: Passage, query: str) -> Passage:
        """The passage with the sentences that an answer is made of."""
        if self.sentences is None:
            return passage
        return replace(passage, text=best_sentences(passage.text, query, self.sentences))


def format_snippet(passage: Passage, snippet_words: int) -> str:
    """Write a passage as an answer.

    Example:
        >>> format_snippet(Passage("1", "Suez Canal", "History", "It opened in 1869.", ""), 3)
        'Suez Canal > History > It opened in'
    """
    parts = (passage.title, passage.section, cut_words(passage.text, snippet_words))
    return " > ".join(part for part in map(clean_result, parts) if part)


def cut_words(text: str, max_words: int) -> str:
    """Return the first words of a text, with single spaces between them.

    Example:
        >>> cut_words("The canal  opened in 1869.", 3)
        'The canal opened'
    """
    return " ".join(text.split()[:max_words])
