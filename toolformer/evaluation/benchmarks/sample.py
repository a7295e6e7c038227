"""A small part of a benchmark.

Does not look at groups; `dateset.sample_dateset` does.
"""

import heapq
from collections.abc import Iterable

from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.ground.digests import number_digest


def sample(items: Iterable[BenchmarkItem], n: int, seed: int) -> list[BenchmarkItem]:
    """Takes some items, chosen by their ids alone: the same on every machine.

    Whether an item comes does not depend on the order of the others, and a larger `n` gives all
    that a smaller one gives. No more than `n` items are held in memory.

    Args:
        items: The items to choose from.
        n: How many; all of them where there are fewer.
        seed: Selects them.

    Returns:
        The items in their order.

    Raises:
        ValueError: `n` is negative.
    """
    if n < 0:
        raise ValueError(f"The sample size is {n}; expected 0 or more. Raise it.")
    chosen = heapq.nsmallest(
        n, enumerate(items), key=lambda numbered: number_digest(seed, numbered[1].item_id)
    )
    return [item for _, item in sorted(chosen, key=lambda numbered: numbered[0])]
