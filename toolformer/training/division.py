"""How the rows of a batch are divided among the processes that train together.

Everything follows from the arguments, so each process works out the same plan.
"""

from collections.abc import Sequence

from toolformer.forward.batching import longest_first, plan_batches


def shares(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """Divide rows among processes, so that each has about as many tokens.

    Args:
        lengths: tokens of each row.
        processes: how many there are; one has nothing to do where there are fewer rows.

    Returns:
        Indices into `lengths`, in rising order, by process.

    Example:
        >>> shares([5, 1, 9, 2, 2], 2)
        [[1, 2], [0, 3, 4]]
    """
    tokens = [0] * processes
    taken: list[list[int]] = [[] for _ in range(processes)]
    for row in longest_first(lengths):
        # The first of equal ones.
        process = tokens.index(min(tokens))
        taken[process].append(row)
        tokens[process] += lengths[row]
    return [sorted(rows) for rows in taken]


def micro_batches(
    lengths: Sequence[int], *, processes: int, process: int, token_budget: int
) -> list[list[int]]:
    """The rows that one process feeds at once.

    Args:
        lengths: tokens of each row of the whole batch.
        processes: how many share the batch.
        process: number of this one, from 0.
        token_budget: most tokens fed at once.

    Returns:
        Indices into `lengths`. There are as many groups in each process: those that have fewer get
        empty ones at the end. With one process these are the batches of `plan_batches`.

    Example:
        >>> plan = {"processes": 2, "token_budget": 9}
        >>> micro_batches([9, 4, 4, 8], process=0, **plan)
        [[0], [2]]
        >>> micro_batches([9, 4, 4, 8], process=1, **plan)
        [[3], [1]]
        >>> micro_batches([9, 4], process=1, processes=3, token_budget=9)
        [[1]]
        >>> micro_batches([9, 4], process=2, processes=3, token_budget=9)
        [[]]
    """
    plans = [
        [
            [rows[place] for place in group]
            for group in plan_batches([lengths[row] for row in rows], token_budget=token_budget)
        ]
        for rows in shares(lengths, processes)
    ]
    groups = max(map(len, plans))
    return plans[process] + [[] for _ in range(groups - len(plans[process]))]
