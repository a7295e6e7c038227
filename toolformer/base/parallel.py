"""Runs short blocking operations, such as flushes to disk, concurrently."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_S = TypeVar("_S")
_T = TypeVar("_T")


def in_parallel(function: Callable[[_S], _T], items: Iterable[_S]) -> list[_T]:
    """Return the results for all items, in their order, computed by up to 16 threads."""
    items = list(items)
    if len(items) == 1:
        # Ctrl-C can interrupt the main thread while it waits, as for a lock, but not a pool thread.
        return [function(items[0])]
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(function, items))
