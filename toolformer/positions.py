"""Chooses the positions of a text that get calls (paper §2, "Sampling API Calls")."""

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
    """Return the k positions with the largest p_i > τ_s, from left to right and counted from 0.

    Ties go to the earlier position.

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
    """Return the positions in a window where a tool proposes calls, with the arguments or None.

    `proposals` refer to the whole text, in which the window begins at character `start`. A call
    brings its own space. So a call proposed after a space is inserted before that space, at the
    position of its token. Of several proposals in one token, the first with arguments wins.

    Example:
        >>> proposals = [Proposal(6, "1 + 1"), Proposal(9)]
        >>> proposed_positions(proposals, start=0, text="1+1 = 2, so", offsets=[0, 2, 3, 5, 7, 8])
        {3: '1 + 1', 5: None}
    """
    starts = [(offset, position) for position, offset in enumerate(offsets) if offset is not None]
    first, last = (
        bisect_left(proposals, bound, key=lambda proposal: proposal.offset)
        for bound in (start, start + len(text))
    )
    proposed: dict[int, str | None] = {}
    for proposal in proposals[first:last]:
        window_offset = proposal.offset - start
        if text[:window_offset].endswith(" "):
            window_offset -= 1
        token = bisect_right(starts, window_offset, key=lambda start: start[0]) - 1
        if token >= 0:
            position = starts[token][1]
            arguments = proposed.get(position)
            proposed[position] = proposal.arguments if arguments is None else arguments
    return proposed
