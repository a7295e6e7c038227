"""Texts that grow by a network's passes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LocalNextTokens, next_tokens
from toolformer.forward.rows import Rows

if TYPE_CHECKING:
    import torch


class NetworkContexts:
    """A `toolformer.forward.model.Contexts` of a network."""

    def __init__(self, model: Network, rows: Rows):
        self._model = model
        self._rows = rows

    def length(self, row: int) -> int:
        """See `Contexts.length`."""
        return self._rows.length(row)

    def append(self, tokens: Sequence[Sequence[int]]) -> None:
        """See `Contexts.append`."""
        self._rows.feed(tokens)

    def feed(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Append tokens to every row; logits behind them, float32, shape `(rows, vocabulary)`."""
        import torch

        states = self._rows.feed(tokens)
        with torch.inference_mode():
            return self._model.logits(states)

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[LocalNextTokens]:
        """See `Contexts.next_tokens`."""
        return next_tokens(self.feed(tokens), open_id=open_id, count=count)

    def forget(self, row: int, length: int) -> None:
        """See `Contexts.forget`."""
        self._rows.forget(row, length)

    def take(self, rows: Sequence[int]) -> "NetworkContexts":
        """See `Contexts.take`."""
        return NetworkContexts(self._model, self._rows.fork(rows))

    def keep(self, rows: Sequence[int]) -> None:
        """See `Contexts.keep`."""
        self._rows.keep(rows)

    def join(self, others: Sequence["NetworkContexts"]) -> "NetworkContexts":
        """See `Contexts.join`."""
        return NetworkContexts(self._model, self._rows.joined([each._rows for each in others]))
