"""Runs the tools of a shard at the same time, each in a thread."""

import threading
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any

from tools.errors import ToolDiedError
from tools.running.deadlines import WHOLE_TOOL_ERRORS


def done_together(work: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """Make the outputs of several tools at the same time, and wait for all of them.

    In daemon threads, unlike those of an executor: an interrupt ends the process at once, and what
    is unfinished then was not published.

    Returns:
        By tool, in the same order, how it ended.

    Raises:
        ToolDiedError: a tool was down for all its calls; the others are finished all the same.
        Exception: what else the work raised.
    """
    states: dict[str, str] = dict.fromkeys(work, "")
    errors: dict[str, Exception] = {}

    def do(name: str) -> None:
        try:
            states[name] = work[name]()
        except Exception as error:  # noqa: BLE001
            # The waiting thread raises it again.
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


def made_once(make: Callable[[Any], Any]) -> Callable[[Hashable], Any]:
    """Return a function that keeps its newest value, which threads that ask together all get."""
    made, lock = lru_cache(maxsize=1)(make), threading.Lock()

    def get(made_of: Hashable) -> Any:
        with lock:
            return made(made_of)

    return get
