"""Which positions of a text get calls (paper §2, "Sampling API Calls")."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from tools.protocol import Proposal


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


def proposed_positions(
    proposals: Sequence[Proposal], *, start: int, text: str, offsets: Sequence[int | None]
) -> dict[int, str | None]:
    """The positions of a window at which a tool proposes calls.

    A call is written with a blank of its own, so one in front of the place stays behind the call:
    the position is that of the token with the blank, whether the word begins in it or not.

    Args:
        proposals: proposals of the text that the window is cut from, by their offsets.
        start: character offset of the window in that text.
        offsets: for each position the character offset within `text` at which a call would stand,
            None where the token begins inside a character; shape `(n,)`.

    Returns:
        0-based positions from left to right, each with the arguments that are proposed there: of
        several places in one token the first that has some.

    Example:
        >>> proposals = [Proposal(6, "1 + 1"), Proposal(9)]
        >>> proposed_positions(proposals, start=0, text="1+1 = 2, so", offsets=[0, 2, 3, 5, 7, 8])
        {3: '1 + 1', 5: None}
    """
    beginnings = [
        (offset, position) for position, offset in enumerate(offsets) if offset is not None
    ]
    first, last = (
        bisect_left(proposals, bound, key=lambda proposal: proposal.offset)
        for bound in (start, start + len(text))
    )
    proposed: dict[int, str | None] = {}
    for proposal in proposals[first:last]:
        window_offset = proposal.offset - start
        if text[:window_offset].endswith(" "):
            window_offset -= 1
        token = bisect_right(beginnings, window_offset, key=lambda beginning: beginning[0]) - 1
        if token >= 0:
            position = beginnings[token][1]
            arguments = proposed.get(position)
            proposed[position] = proposal.arguments if arguments is None else arguments
    return proposed
