"""Grouping of rows of different lengths into batches of a bounded size."""

from collections.abc import Sequence


def end_of_batch(lengths: Sequence[int], start: int, *, token_budget: int) -> int:
    """Where the batch ends that begins at a row: as many rows as the budget takes, at least one.

    Args:
        token_budget: most tokens of the batch. Rows are padded to the longest, and padding counts.

    Example:
        >>> end_of_batch([4, 3, 3], 0, token_budget=10)
        2
    """
    longest = 0
    for end in range(start, len(lengths)):
        longest = max(longest, lengths[end])
        if longest * (end - start + 1) > token_budget and end > start:
            return end
    return len(lengths)


def plan_batches(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Group rows of like length, longest first, so that little padding is fed.

    The plan depends on the lengths alone: the same rows give the same batches, and so bit-equal
    numbers on the same device. Longest first makes running out of memory show at once.

    Returns:
        Indices into `lengths`, each exactly once.

    Example:
        >>> plan_batches([2, 9, 3, 3], token_budget=9)
        [[1], [2, 3, 0]]
    """
    order = longest_first(lengths)
    in_order = [lengths[index] for index in order]
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        end = end_of_batch(in_order, start, token_budget=token_budget)
        batches.append(order[start:end])
        start = end
    return batches


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices of rows by falling length; equal ones in their order.

    Example:
        >>> longest_first([2, 9, 3, 3])
        [1, 2, 3, 0]
    """
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
