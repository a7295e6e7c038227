"""Rows of tokens that a model has read, and goes on with: all that is asked of its passes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

from toolformer.forward.network import Network
from toolformer.forward.own_rows import OwnRows
from toolformer.forward.shared_rows import SharedRows

if TYPE_CHECKING:
    import torch


class Rows(Protocol):
    """Rows that grow, can forget their last tokens, and fork."""

    def length(self, row: int) -> int:
        """How many tokens a row has."""
        ...

    def feed(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Append tokens to every row, at least one to each.

        Returns:
            Hidden states behind each row's last token, shape `(rows, hidden)`.
        """
        ...

    def read(self, tokens: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """Append tokens to rows that were forked from one, padded to the longest.

        Args:
            tokens: at least one for each row.

        Returns:
            Hidden states behind all these tokens, for each row of shape `(tokens, hidden)`.
        """
        ...

    def forget(self, row: int, length: int) -> None:
        """Forget all but the first `length` tokens of a row that shares nothing."""
        ...

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
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Leave these rows, at least one, in this order; one that keeps its place is not copied."""
        ...

    def joined(self, others: Sequence[Self]) -> Self:
        """The rows of all these, which have at least one each; they are used up."""
        ...


def rows_of(model: Network) -> type[OwnRows] | type[SharedRows]:
    """The class of the rows that it is fed; new ones have no tokens."""
    return OwnRows if model.is_plain else SharedRows
