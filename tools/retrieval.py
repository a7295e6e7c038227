"""Tools that answer from passages: look up, pass over the text's own, read.

    look up    arguments            -> ranked passages       the same for every text that asks
    select     passages, document   -> foreign passages      what the text itself holds is no answer
    read       arguments, passages  -> answer

The first and the last step may be dear and are kept in a cache; what stands between is worked out
for each text. Does not search and does not read; subclasses do.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tools.base import BaseTool
from tools.errors import ToolCallError
from tools.passage_ranking import Hit
from tools.protocol import Document

# Fields of a passage as a cache holds it: passage_id, title, section, text, url, score.
StoredPassage = Mapping[str, str | float]


class Retriever(Protocol):
    """Finds passages for a question."""

    def version(self) -> str:
        """Everything that rankings depend on, the fingerprint of the index included."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError when it cannot run, by looking at files only."""
        ...

    def rank(self, queries: Sequence[str], depth: int) -> list[list[Hit]]:
        """Rank passages for each query, at most `depth`, best first.

        Scores are natural logarithms of how probable each passage is, up to a constant of the
        ranking: a reader weighs the passages by them. A ranking depends on its own query alone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader found.

    Attributes:
        text: The answer, a few words.
        probability: How sure the reader is, 0 to 1.
    """

    text: str
    probability: float


class Reader(Protocol):
    """Answers a question from passages."""

    def version(self) -> str:
        """Everything that answers depend on, the identity of the model included."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError when it cannot run, without loading a model."""
        ...

    def read(self, requests: Sequence[tuple[str, Sequence[StoredPassage]]]) -> list[Answer | None]:
        """Answer questions, each from its own passages alone; None where these hold no answer.

        Loads its model at the first request and not before.
        """
        ...


class AnswerStore(Protocol):
    """Where finished steps are kept, for all processes."""

    def get_many(self, keys: Sequence[tuple[str, ...]]) -> list[str | None]:
        """What is kept under each key; None where nothing is."""
        ...

    def set_many(self, values: Mapping[tuple[str, ...], str]) -> None:
        """Keep values."""
        ...


class RetrievalTool(BaseTool):
    """A tool in the three steps above. Subclasses give `look_up`, `select` and `read`."""

    @abstractmethod
    def look_up(self, queries: Sequence[str]) -> list[list[StoredPassage]]:
        """Rank passages for each of several distinct queries, deep enough to pass some over."""

    @abstractmethod
    def select(self, passages: Sequence[StoredPassage], document: Document) -> list[StoredPassage]:
        """Return the passages that may answer this text, in their order."""

    @abstractmethod
    def read(
        self, requests: Sequence[tuple[str, Sequence[StoredPassage]]]
    ) -> list[str | ToolCallError]:
        """Answer queries from passages; the error of a query that these do not answer."""

    def call(self, arguments: str, document: Document) -> str:
        """Answer one call; see `call_batch`, which is faster for several.

        Args:
            arguments: Normalised by `parse_arguments`.
            document: The text that asks.

        Returns:
            The answer.

        Raises:
            ToolCallError: When there is no answer.
        """
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls in the three steps; equal queries are looked up once.

        Args:
            requests: Pairs of normalised arguments and the text that asks.

        Returns:
            One entry per request, in the same order: the answer, or the error of that call.
        """
        queries = list(dict.fromkeys(arguments for arguments, _ in requests))
        found = dict(zip(queries, self.look_up(queries), strict=True))
        return self.read(
            [
                (arguments, self.select(found[arguments], document))
                for arguments, document in requests
            ]
        )
