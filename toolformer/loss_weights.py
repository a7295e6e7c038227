"""Defines the token weights and the weighted loss of the paper (§2, "Filtering API Calls")."""

import math
from collections.abc import Sequence

# w̃_t = max(0, 1 - 0.2 t), divided by their sum over all t, which is 3. Fractions of 15 avoid
# rounding errors: w = 1/3, 4/15, 1/5, 2/15, 1/15, 0, 0, … The weights are normalised before the end
# of a text cuts them off, so near the end the remaining weights sum to less than 1.
TOKEN_WEIGHTS = (5 / 15, 4 / 15, 3 / 15, 2 / 15, 1 / 15)


def window_weights(tokens: int, *, are_linear: bool) -> tuple[float, ...]:
    """Return weights that sum to 1: equal, or falling linearly to 0 after the last token.

    The paper uses only linear weights over 5 tokens (`TOKEN_WEIGHTS`).

    Example:
        >>> window_weights(5, are_linear=True) == TOKEN_WEIGHTS
        True
        >>> window_weights(4, are_linear=False)
        (0.25, 0.25, 0.25, 0.25)
    """
    if not are_linear:
        return (1 / tokens,) * tokens
    total = tokens * (tokens + 1) // 2
    return tuple((tokens - t) / total for t in range(tokens))


def weighted_loss(token_losses: Sequence[float], weights: Sequence[float] = TOKEN_WEIGHTS) -> float:
    """Return L_i(z) in nats, given -log p(x_j | z, x_{1:j-1}) for j = i, i + 1, ….

    Example:
        >>> round(weighted_loss([2.4, 1.8, 1.2, 0.9, 0.6, 0.7]), 6)
        1.68
    """
    # Near the end of a text, there are fewer losses than weights.
    weighted = zip(weights, token_losses, strict=False)
    # fsum raises on infinities of both signs, but no loss is negative infinity.
    return math.fsum(weight * loss for weight, loss in weighted)
