"""Grouping of rows of different lengths into batches of a bounded size.

Does not know models or tokenizers; works on lengths.
"""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Group rows of like length, longest first, so that little padding is fed.

    The plan depends on the lengths alone: the same rows give the same batches, and so bit-equal
    numbers on the same device. Longest first makes running out of memory show at once.

    Args:
        lengths: tokens of each row.
        token_budget: most tokens of one batch, padding included. A row that is longer than the
            budget gets a batch of its own.

    Returns:
        Indices into `lengths`, each exactly once.

    Example:
        >>> plan_batches([2, 9, 3, 3], token_budget=9)
        [[1], [2, 3, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
