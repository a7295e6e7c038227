"""Tools that answer from passages: look up, pass over the text's own, read.

    look up    query                -> ranked passages       the same for every text
    select     query, passages,     -> other passages        what the text itself holds is no answer
               document
    read       query, passages      -> answer

The first and the last step may be expensive; the second is done for each text.
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

LONGEST_QUERY = 300  # characters; a longer one is no query but a copied text


class Retriever(Protocol):
    """Finds passages for a question."""

    def version(self) -> str:
        """Everything that rankings depend on, the fingerprint of the index included."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError when it cannot run, by looking at files only."""
        ...

    def rank(self, queries: Sequence[str], depth: int) -> list[list[RankedPassage]]:
        """Rank passages for each query, at most `depth`, best first.

        Scores are natural logarithms of how probable each passage is, up to a constant of the
        ranking: a reader weighs the passages by them. A ranking depends on its own query alone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader found.

    Attributes:
        probability: How sure the reader is, 0 to 1.
    """

    text: str
    probability: float


class Reader(Protocol):
    """Answers a question from passages."""

    def version(self) -> str:
        """Everything that answers depend on, the identity of the model included."""
        ...

    def prepare(self) -> None:
        """Load its model, unless that was done."""
        ...

    def read(self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]) -> list[Answer | None]:
        """Answer questions, each from its own passages alone; None where these hold no answer.

        Each has at least one passage.

        Loads its model at the first request, where `prepare` was not called, and not before.
        """
        ...


class RetrievalTool(Tool):
    """A tool in the three steps above. Subclasses set the attributes and give `read`.

    Attributes:
        depths: Passages that are ranked before those of the text itself are passed over; where all
            are, the next number.
        passages: Most passages that are read.
    """

    retriever: Retriever
    depths: Sequence[int]
    passages: int = 1

    # Which queries can be asked depends on no setting.
    sampling_version = "1"
    proposals_version = "1"

    def parse_arguments(self, text: str) -> str:
        """Normalise a query: quotes, control characters and white space.

        Raises:
            CallSyntaxError: As `Tool.parse_arguments`, and with reason `too_long`.
        """
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
        """Answer queries from passages, at least one each."""

    def compared_texts(self, query: str, passage: Passage) -> Sequence[str]:  # noqa: ARG002
        """The texts that make a passage the asking text's own, where that repeats one of them."""
        return (passage.text,)

    def call(self, arguments: str, document: Document) -> str:
        """Answer one query; see `call_batch`."""
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Take queries through the three steps; each step does equal work once.

        Returns:
            One entry per request; an error with reason `no_result` where no foreign passage was
            found.
        """
        with self._named_errors():
            chosen = self._foreign_passages(requests)
            readings = [(query, found) for (query, _), found in zip(requests, chosen, strict=True)]
            distinct = list(dict.fromkeys(reading for reading in readings if reading[1]))
            answers = dict(zip(distinct, self.read(distinct), strict=True))
        return [answers.get(each, ToolCallError("no_result", "")) for each in readings]

    def check_available(self) -> None:
        """Check the retriever by looking at files."""
        with self._named_errors():
            self.retriever.check_available()

    def _foreign_passages(
        self, requests: Sequence[tuple[str, Document]]
    ) -> list[tuple[RankedPassage, ...]]:
        """Of each request the best passages that are neither source nor copy of its text."""
        chosen: list[tuple[RankedPassage, ...]] = [() for _ in requests]
        places: Sequence[int] = range(len(requests))
        # The text may own all that was found first, and others' passages stand further down.
        for depth in self.depths:
            queries = list(dict.fromkeys(requests[place][0] for place in places))
            ranked = self.retriever.rank(queries, depth) if queries else []
            found = dict(zip(queries, ranked, strict=True))
            for place in places:
                query, document = requests[place]
                foreign = self._foreign(query, found[query], DocumentMatcher(document))
                chosen[place] = tuple(islice(foreign, self.passages))
            places = [each for each in places if found[requests[each][0]] and not chosen[each]]
        return chosen

    def _foreign(
        self, query: str, found: Sequence[RankedPassage], asking: DocumentMatcher
    ) -> Iterator[RankedPassage]:
        for ranked in found:
            passage = ranked.passage
            if not any(
                asking.is_own_source(title=passage.title, url=passage.url, text=text)
                for text in self.compared_texts(query, passage)
            ):
                yield ranked

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """What is missing makes this tool unavailable, whichever tool it was built for."""
        try:
            yield
        except ToolUnavailableError as error:
            raise ToolUnavailableError(self.name, error.reason, error.remedy) from error

    def cache_key(self, document: Document) -> tuple[str, ...]:
        """A digest of the text with its title and address: its own passages answer nothing."""
        return (hex_digest(document.title or "", document.url or "", document.text),)
