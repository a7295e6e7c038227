"""Tools that answer from passages: look up, pass over the text's own, read.

    look up    arguments            -> ranked passages       the same for every text that asks
    select     passages, document   -> foreign passages      what the text itself holds is no answer
    read       arguments, passages  -> answer

The first and the last step may be dear and are kept in a cache; what stands between is worked out
for each text. Does not search and does not read; subclasses do.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from tools.base import BaseTool
from tools.errors import ToolCallError
from tools.protocol import Document

# Fields of a passage as a cache holds it: passage_id, title, section, text, url, score.
StoredPassage = Mapping[str, str | float]


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
    def select(
        self, passages: Sequence[StoredPassage], document: Document
    ) -> list[StoredPassage]:
        """Return the passages that may answer this text, in their order."""

    @abstractmethod
    def read(
        self, requests: Sequence[tuple[str, Sequence[StoredPassage]]]
    ) -> list[str | ToolCallError]:
        """Answer queries from passages; the error of a query that these do not answer."""
