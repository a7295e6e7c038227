"""Which positions of a text get calls (paper §2, "Sampling API Calls"; spec §1.3).

Pure. Does not compute probabilities; `toolformer.sampling` does.
"""

from collections.abc import Sequence


def choose_positions(
    call_probabilities: Sequence[float],
    *,
    sampling_threshold: float,
    positions_per_text: int,
    is_allowed: Sequence[bool] | None = None,
) -> list[int]:
    """The k positions with the largest p_i among those with p_i > τ_s, from left to right.

    Args:
        call_probabilities: p_i for every position, shape `(n,)`.
        sampling_threshold: τ_s. Exactly τ_s is not above it.
        positions_per_text: k.
        is_allowed: which positions may hold a call at all; all by default.

    Returns:
        0-based positions. Ties at the cut: the earlier one wins.

    Example:
        >>> choose_positions([0.3, 0.1, 0.2, 0.1], sampling_threshold=0.05, positions_per_text=3)
        [0, 1, 2]
    """
    above = [
        position
        for position, probability in enumerate(call_probabilities)
        if probability > sampling_threshold and (is_allowed is None or is_allowed[position])
    ]
    largest = sorted(above, key=lambda position: (-call_probabilities[position], position))
    return sorted(largest[:positions_per_text])
