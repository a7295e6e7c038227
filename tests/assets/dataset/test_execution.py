"""The stage that makes calls: its tools work at the same time."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from assets.dataset.tool_threads import done_together
from tools.errors import ToolDiedError


def test_tools_work_at_the_same_time_and_an_error_of_one_stops_no_other():
    meeting, done = threading.Barrier(3, timeout=10), []

    def meet(name: str, error: Exception | None = None) -> str:
        meeting.wait()
        if error is not None:
            raise error
        done.append(name)
        return f"{name} done"

    def work(error: Exception | None) -> dict[str, Callable[[], str]]:
        return {
            "a": partial(meet, "a", error),
            **{name: partial(meet, name) for name in ("b", "c")},
        }

    assert done_together(work(None)) == {"a": "a done", "b": "b done", "c": "c done"}
    done.clear()
    with pytest.raises(ValueError, match="no answer"):
        done_together(work(ValueError("no answer")))
    assert sorted(done) == ["b", "c"]
    with pytest.raises(ToolDiedError, match="a: its process ended"):
        done_together(work(ToolDiedError("its process ended")))
