"""Runs the tools of a shard concurrently, each in a thread."""

import threading
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any

from tools.errors import ToolDiedError
from tools.running.deadlines import WHOLE_TOOL_ERRORS


def run_tools_concurrently(work: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """Make the outputs of several tools concurrently; return their states in the same order.

    The threads are daemons, unlike those of an executor, so that an interrupt ends the process at
    once; unfinished outputs are not published. All tools finish before an error is raised.
    """
    states: dict[str, str] = dict.fromkeys(work, "")
    errors: dict[str, Exception] = {}

    def do(name: str) -> None:
        try:
            states[name] = work[name]()
        except Exception as error:  # noqa: BLE001
            # The main thread raises it again.
            errors[name] = error

    threads = [threading.Thread(target=do, args=(name,), name=name, daemon=True) for name in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors.values():
        if not isinstance(error, WHOLE_TOOL_ERRORS):
            raise error
    if errors:
        raise ToolDiedError(" ".join(f"{name}: {error}" for name, error in errors.items()))
    return states


def cache_latest(make: Callable[[Any], Any]) -> Callable[[Hashable], Any]:
    """Return a function that caches its newest value; concurrent callers get the same value."""
    made, lock = lru_cache(maxsize=1)(make), threading.Lock()

    def get(key: Hashable) -> Any:
        with lock:
            return made(key)

    return get
