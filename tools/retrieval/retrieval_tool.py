"""Implements tools that answer from passages, in three steps.

    rank      query                        -> ranked passages
    select    query, passages, document    -> passages that are not the document's own
    read      query, passages              -> answer

Ranking and reading may be expensive, so equal inputs are ranked and read only once. The selection
is repeated for each document.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from toolformer.base.digests import hex_digest
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError, ToolUnavailableError
from tools.protocol import Document
from tools.retrieval.passages import Passage, RankedPassage
from tools.syntax import single_line, strip_quotes
from tools.text_overlap import DocumentMatcher

LONGEST_QUERY = 300  # characters; anything longer is copied text rather than a query


class Retriever(Protocol):
    def version(self) -> str:
        """Return everything that rankings depend on, including the fingerprint of the index."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError if the retriever cannot run; only checks files."""
        ...

    def rank(self, queries: Sequence[str], depth: int) -> list[list[RankedPassage]]:
        """Rank at most `depth` passages per query, best first.

        Scores are log-probabilities up to an additive constant per ranking. Readers weigh passages
        by them. A ranking depends only on its own query.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a reader, with its probability (0 to 1)."""

    text: str
    probability: float


class Reader(Protocol):
    def version(self) -> str:
        """Return everything that answers depend on, including the identity of the model."""
        ...

    def prepare(self) -> None: ...

    def read(self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]) -> list[Answer | None]:
        """Answer each question from its own passages (at least one); None without an answer."""
        ...


class RetrievalTool(Tool):
    """Base class for the three steps above. Subclasses set the attributes and implement `read`.

    Attributes:
        depths: Increasing numbers of passages to rank. The next one is used if all ranked passages
            are the document's own.
        passages: Maximum number of passages to read.
    """

    retriever: Retriever
    depths: Sequence[int]
    passages: int = 1

    # No setting changes which queries can be asked.
    sampling_version = "1"
    proposals_version = "1"

    def parse_arguments(self, text: str) -> str:
        query = super().parse_arguments(strip_quotes(single_line(text)))
        if len(query) > LONGEST_QUERY:
            raise CallSyntaxError(
                "too_long",
                f"The query {query[:40]!r}… of {self.name} has {len(query)} characters. Expected "
                f"at most {LONGEST_QUERY}.",
            )
        return query

    @abstractmethod
    def read(
        self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]
    ) -> list[str | ToolCallError]:
        """Answer each query from its passages, of which there is at least one."""

    def compared_texts(self, query: str, passage: Passage) -> Sequence[str]:  # noqa: ARG002
        """Return texts to compare: a passage is the document's own if the document repeats one."""
        return (passage.text,)

    def call(self, arguments: str, document: Document) -> str:
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer queries in the three steps; each step processes equal inputs once."""
        with self._named_errors():
            chosen = self._eligible_passages(requests)
            readings = [
                (query, ranked) for (query, _), ranked in zip(requests, chosen, strict=True)
            ]
            distinct = list(dict.fromkeys(reading for reading in readings if reading[1]))
            answers = dict(zip(distinct, self.read(distinct), strict=True))
        return [answers.get(reading, ToolCallError("no_result", "")) for reading in readings]

    def check_available(self) -> None:
        with self._named_errors():
            self.retriever.check_available()

    def _eligible_passages(
        self, requests: Sequence[tuple[str, Document]]
    ) -> list[tuple[RankedPassage, ...]]:
        """Return per request the best passages that are neither source nor copy of its document."""
        chosen: list[tuple[RankedPassage, ...]] = [() for _ in requests]
        indices: Sequence[int] = range(len(requests))
        # If the best passages are all the document's own, other passages may follow further down.
        for depth in self.depths:
            queries = list(dict.fromkeys(requests[index][0] for index in indices))
            rankings = self.retriever.rank(queries, depth) if queries else []
            ranking_of = dict(zip(queries, rankings, strict=True))
            for index in indices:
                query, document = requests[index]
                eligible = self._eligible(query, ranking_of[query], DocumentMatcher(document))
                chosen[index] = tuple(islice(eligible, self.passages))
            indices = [
                index for index in indices if ranking_of[requests[index][0]] and not chosen[index]
            ]
        return chosen

    def _eligible(
        self, query: str, ranking: Sequence[RankedPassage], matcher: DocumentMatcher
    ) -> Iterator[RankedPassage]:
        for ranked in ranking:
            passage = ranked.passage
            if not any(
                matcher.is_own_source(title=passage.title, url=passage.url, text=text)
                for text in self.compared_texts(query, passage)
            ):
                yield ranked

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Name this tool in ToolUnavailableError; retriever or reader may name another tool."""
        try:
            yield
        except ToolUnavailableError as error:
            raise ToolUnavailableError(self.name, error.reason, error.remedy) from error

    def cache_key(self, document: Document) -> tuple[str, ...]:
        """Return a digest of text, title and URL, by which a document's own passages are found."""
        return (hex_digest(document.title or "", document.url or "", document.text),)
