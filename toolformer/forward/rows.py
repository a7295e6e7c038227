"""Base class of batches of token rows that a network prefills, extends and forks."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch

from toolformer.forward.model import Contexts
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LocalNextTokens, next_tokens


class Rows(Contexts):
    """`Contexts` of a network; they can also be prefilled and forked at earlier positions."""

    def __init__(self, model: Network):
        self._model = model

    @abstractmethod
    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append at least one token per row; return its last state, shape `(rows, hidden)`."""

    @abstractmethod
    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Append tokens to forks of one row; return their states, `(tokens, hidden)` per row."""

    @abstractmethod
    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        """Return rows that start with the first `lengths` tokens (by default all) of these rows.

        With `shares`, they share one KV cache. This requires ascending rows and equally many tokens
        per row in every feed, and uses these rows up.
        """

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[LocalNextTokens]:
        states = self.feed(tokens)
        with torch.inference_mode():
            logits = self._model.logits(states)
        return next_tokens(logits, open_id=open_id, count=count)
