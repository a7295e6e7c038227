"""Tools that answer from passages: look up, pass over the text's own, read.

    look up    query                -> ranked passages       the same for every text
    select     query, passages,     -> other passages        what the text itself holds is no answer
               document
    read       query, passages      -> answer

The first and the last step may be expensive; the second is done for each text.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from toolformer.base.digests import hex_digest
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document
from tools.retrieval.passages import RankedPassage
from tools.syntax import single_line, strip_quotes

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
    """A tool in the three steps above. Subclasses give `look_up`, `select` and `read`."""

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
    def look_up(self, queries: Sequence[str]) -> list[list[RankedPassage]]:
        """Rank passages for each of several distinct queries, deep enough to pass some over."""

    def look_up_deeper(self, queries: Sequence[str]) -> list[list[RankedPassage]]:
        """Rank more passages, for texts that own all that `look_up` found; none by default."""
        return [[] for _ in queries]

    @abstractmethod
    def select(
        self, query: str, passages: Sequence[RankedPassage], document: Document
    ) -> list[RankedPassage]:
        """Return the passages that may answer this query in this text, in their order."""

    @abstractmethod
    def read(
        self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]
    ) -> list[str | ToolCallError]:
        """Answer queries from passages, at least one each."""

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
        chosen: list[list[RankedPassage]] = [[] for _ in requests]
        places: Sequence[int] = range(len(requests))
        # The text may own all that was found first, and others' passages stand further down.
        for look_up in (self.look_up, self.look_up_deeper):
            queries = list(dict.fromkeys(requests[place][0] for place in places))
            found = dict(zip(queries, look_up(queries), strict=True)) if queries else {}
            for place in places:
                query, document = requests[place]
                chosen[place] = self.select(query, found[query], document)
            places = [each for each in places if found[requests[each][0]] and not chosen[each]]
        readings = [
            (query, tuple(passages)) for (query, _), passages in zip(requests, chosen, strict=True)
        ]
        distinct = list(dict.fromkeys(reading for reading in readings if reading[1]))
        answers = dict(zip(distinct, self.read(distinct), strict=True))
        return [answers.get(each, ToolCallError("no_result", "")) for each in readings]

    def cache_key(self, document: Document) -> tuple[str, ...]:
        """A digest of the text with its title and address: its own passages answer nothing."""
        return (hex_digest(document.title or "", document.url or "", document.text),)
