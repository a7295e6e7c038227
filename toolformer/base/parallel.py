"""Many short waits at once: for a disk that forces files out, or a store that answers."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_S = TypeVar("_S")
_T = TypeVar("_T")

_AT_A_TIME = 16


def in_parallel(function: Callable[[_S], _T], items: Iterable[_S]) -> list[_T]:
    """The results for all items, in their order: some at a time take as long as one."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(function, items))
