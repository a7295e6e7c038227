"""What the loss of a call is: where the call stands, and which tokens behind it count.

The paper has the call in front of the whole text and five tokens with falling weights.
"""

from dataclasses import dataclass
from enum import StrEnum

from toolformer.loss_weights import TOKEN_WEIGHTS


class Placement(StrEnum):
    """Where a call stands while it is scored: in front of its text, or at its place in it."""

    PREFIX = "prefix"
    INLINE = "inline"


@dataclass(frozen=True, slots=True)
class LossForm:
    """The form of all losses of a partition.

    Attributes:
        weights: w_t of the tokens from the position on.
    """

    placement: Placement = Placement.PREFIX
    weights: tuple[float, ...] = TOKEN_WEIGHTS

    def tokens_used(self, window_tokens: int, position: int) -> int:
        """How many tokens of a window carry weight at a position."""
        return min(len(self.weights), max(0, window_tokens - position))


PAPERS_FORM = LossForm()
