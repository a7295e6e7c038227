"""Counts what an object store is asked."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any


def count_requests_of(store: type) -> Counter[str]:
    """Counts the requests of a class of stores from now on; of a list each page is one."""
    asked: Counter[str] = Counter()
    for name in ("put", "get", "delete"):
        setattr(store, name, _counting(getattr(store, name), name, asked))
    genuine = store.list

    def listed(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        asked["list"] += 1
        found = 0
        for chunk in genuine(self, *arguments, **options):
            found += len(chunk)
            yield chunk
        asked["list"] += found // 1000

    store.list = listed
    return asked


def _counting(genuine: Callable[..., Any], name: str, asked: Counter[str]) -> Callable[..., Any]:
    def ask(*arguments: Any, **options: Any) -> Any:
        asked[name] += 1
        return genuine(*arguments, **options)

    return ask
