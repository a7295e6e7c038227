"""The loss of a text, from the losses of its tokens (paper §4.3).

Does not run a model or cut texts into windows. The perplexity of many texts, in which every token
weighs the same, is the view `evaluation_summary`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PerplexityRow:
    """The loss of one text.

    Attributes:
        mean_loss: Mean over the tokens, in nats; None when the text is left out.
        tokens: Number of tokens that were predicted.
        reason: Why the text is left out: `empty`, `non_finite_loss`; None when it counts.
    """

    mean_loss: float | None
    tokens: int
    reason: Literal["empty", "non_finite_loss"] | None = None


def perplexity_row(token_losses: Sequence[float]) -> PerplexityRow:
    """Average the losses of one text.

    Args:
        token_losses: Negative log-likelihood of every token after the start token, in nats,
            shape (position,); the windows of a long text joined.

    Returns:
        The row; without a mean, and with a reason, for an empty text or a non-finite loss.

    Example:
        >>> perplexity_row([1.0, 2.0])
        PerplexityRow(mean_loss=1.5, tokens=2, reason=None)
    """
    tokens = len(token_losses)
    if not tokens:
        return PerplexityRow(None, 0, "empty")
    if not all(math.isfinite(loss) for loss in token_losses):
        return PerplexityRow(None, tokens, "non_finite_loss")
    return PerplexityRow(math.fsum(token_losses) / tokens, tokens)
