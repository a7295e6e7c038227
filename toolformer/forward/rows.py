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
        """Append at least one token to every row.

        Returns:
            Hidden state of each row's last token, shape `(rows, hidden)`.
        """

    @abstractmethod
    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Append at least one token to every row; all rows must be forks of one row.

        Returns:
            Hidden states of the appended tokens, for each row of shape `(tokens, hidden)`.
        """

    @abstractmethod
    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        """Return new rows that start with tokens of these.

        Args:
            rows: row to copy for each new row; in ascending order if `shares`.
            lengths: number of tokens to copy, at least one; by default all.
            shares: share the KV cache of the copied tokens instead of copying it. This uses these
                rows up, and every feed must give all new rows the same number of tokens.
        """

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[LocalNextTokens]:
        states = self.feed(tokens)
        with torch.inference_mode():
            logits = self._model.logits(states)
        return next_tokens(logits, open_id=open_id, count=count)
