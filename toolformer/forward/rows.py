"""Rows of tokens that a model has read, and goes on with: all that is asked of its passes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch

from toolformer.forward.model import Contexts
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LocalNextTokens, next_tokens


class Rows(Contexts):
    """Contexts of a network, which fork besides."""

    def __init__(self, model: Network):
        self._model = model

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

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[LocalNextTokens]:
        """See `Contexts.next_tokens`."""
        states = self.feed(tokens)
        with torch.inference_mode():
            logits = self._model.logits(states)
        return next_tokens(logits, open_id=open_id, count=count)
