"""Rows of tokens that a model has read, and goes on with: all that is asked of its passes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch

from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LocalNextTokens, next_tokens


class Rows(ABC):
    """`toolformer.forward.model.Contexts` of a network, which fork besides."""

    def __init__(self, model: Network):
        self._model = model

    @abstractmethod
    def length(self, row: int) -> int:
        """See `Contexts.length`."""

    @abstractmethod
    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens to every row, at least one to each.

        Returns:
            Hidden states behind each row's last token, shape `(rows, hidden)`.
        """

    @abstractmethod
    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Append tokens to rows that were forked from one, padded to the longest.

        Args:
            tokens: at least one for each row.

        Returns:
            Hidden states behind all these tokens, for each row of shape `(tokens, hidden)`.
        """

    @abstractmethod
    def forget(self, row: int, length: int) -> None:
        """See `Contexts.forget`; the row shares nothing."""

    @abstractmethod
    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        """Rows that begin with tokens of these.

        Args:
            rows: which row each begins with; in ascending order where they share.
            lengths: how many tokens of it, at least one; by default all.
            shares: whether they go on side by side behind the same text, which is not copied. These
                rows are used up then, and the new ones get equally many tokens in every feed.
        """

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """See `Contexts.keep`."""

    @abstractmethod
    def join(self, others: Sequence[Any]) -> Self:
        """See `Contexts.join`."""

    def append(self, tokens: Sequence[Sequence[int]]) -> None:
        """See `Contexts.append`."""
        self.feed(tokens)

    def take(self, rows: Sequence[int]) -> Self:
        """See `Contexts.take`."""
        return self.fork(rows)

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[LocalNextTokens]:
        """See `Contexts.next_tokens`."""
        states = self.feed(tokens)
        with torch.inference_mode():
            logits = self._model.logits(states)
        return next_tokens(logits, open_id=open_id, count=count)
