"""The stage that makes calls: its tools work at the same time."""

import threading

from assets.execution import done_together


def test_pieces_of_work_wait_for_each_other_and_an_error_stops_no_other():
    meeting = threading.Barrier(3, timeout=10)

    def meet(answer):
        meeting.wait()
        if answer is None:
            raise ValueError("no answer")
        return answer

    done = done_together(
        {name: lambda name=name: meet(name) for name in "ab"} | {"c": lambda: meet(None)}
    )
    assert list(done) == ["a", "b", "c"]
    assert (done["a"], done["b"]) == ("a", "b")
    assert isinstance(done["c"], ValueError)
