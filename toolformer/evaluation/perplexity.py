"""Perplexity of texts and of a corpus, from the losses of their tokens.

Does not run a model or cut texts into windows: it takes the negative log-likelihoods, in nats.
"""

import math
from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True, slots=True)
class CorpusPerplexity:
    """The perplexity of several texts together.

    Attributes:
        perplexity: exp of `mean_loss`, infinite where that overflows; None when no text counts.
        mean_loss: Mean over all tokens of the texts that count, in nats.
        tokens: Number of these tokens.
        texts: Number of texts that count.
        empty_texts: Texts left out because they have no token to predict.
        non_finite_texts: Texts left out because a loss was infinite or not a number. Two models
            may only be compared where this is zero for both.
    """

    perplexity: float | None
    mean_loss: float | None
    tokens: int
    texts: int
    empty_texts: int
    non_finite_texts: int


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


def perplexity_rows(token_losses: Iterable[Sequence[float]]) -> list[PerplexityRow]:
    """Average the losses of each text.

    Args:
        token_losses: For each text what `perplexity_row` takes.

    Returns:
        One row per text, in the order given.
    """
    return [perplexity_row(losses) for losses in token_losses]


def corpus_perplexity(rows: Iterable[PerplexityRow]) -> CorpusPerplexity:
    """Combine texts to one perplexity in which every token weighs the same.

    Args:
        rows: One row per text.

    Returns:
        The perplexity, with the number of texts that were left out and why.

    Paper: section 4.3.

    Example:
        >>> corpus_perplexity(perplexity_rows([[0.0, 0.0], []])).perplexity
        1.0
    """
    rows = list(rows)
    counted = [(row.mean_loss, row.tokens) for row in rows if row.mean_loss is not None]
    tokens = sum(count for _, count in counted)
    mean_loss = math.fsum(mean * count for mean, count in counted) / tokens if tokens else None
    return CorpusPerplexity(
        perplexity=None if mean_loss is None else _exp(mean_loss),
        mean_loss=mean_loss,
        tokens=tokens,
        texts=len(counted),
        empty_texts=sum(row.reason == "empty" for row in rows),
        non_finite_texts=sum(row.reason == "non_finite_loss" for row in rows),
    )


def _exp(exponent: float) -> float:
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf
