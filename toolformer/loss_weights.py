"""The weights and the weighted loss of the paper (§2, "Filtering API Calls").

Windows of other lengths and weights are not in the paper. Pure functions on numbers.
"""

import math
from collections.abc import Sequence

# w̃_t = max(0, 1 - 0.2 t), divided by their sum over all t, which is 3. Written as fractions of 15
# so that no rounding error enters: w = 1/3, 4/15, 1/5, 2/15, 1/15, 0, 0, … The sum is taken before
# the end of a text cuts the window: near the end the weights that remain add up to less than 1.
TOKEN_WEIGHTS = (5 / 15, 4 / 15, 3 / 15, 2 / 15, 1 / 15)


def window_weights(tokens: int, *, are_linear: bool) -> tuple[float, ...]:
    """The weights of a window; they sum to 1.

    Args:
        tokens: tokens of the window, at least 1.
        are_linear: falling from the first token on to 0 behind the last; else all the same.

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
    """L_i(z): the weighted loss of the tokens from position i on.

    Args:
        token_losses: -log p(x_j | z, x_{1:j-1}) in nats, for j = i, i + 1, …; only as many as
            there are weights count, fewer near the end of the text, none after it.
        weights: w_t, the paper's by default.

    Returns:
        The loss in nats; 0.0 for an empty window.

    Example:
        >>> round(weighted_loss([2.4, 1.8, 1.2, 0.9, 0.6, 0.7]), 6)
        1.68
    """
    weighted = zip(weights, token_losses, strict=False)
    # fsum refuses a sum with infinities of both signs; losses are never negative infinite.
    return math.fsum(weight * loss for weight, loss in weighted)
