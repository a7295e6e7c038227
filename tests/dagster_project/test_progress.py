import logging

from hypothesis import given
from hypothesis import strategies as st

from dagster_project.progress import LogReporter, ProgressCallback, progress_of, shown_by

LOG = logging.getLogger(__name__)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def __call__(self, stage: str, detail: str) -> ProgressCallback:
        return lambda done, total: self.told.append((done, total))


@given(st.lists(st.tuples(st.integers(0, 99), st.none() | st.integers(0, 99))))
def test_progress_never_overruns_its_total(steps: list[tuple[int, int | None]]):
    recorder = Recorder()
    with shown_by(recorder):
        report = progress_of("work", LOG)
        for done, total in steps:
            report(done, total)
    assert [done for done, _ in recorder.told] == [done for done, _ in steps]
    for (done, shown), (_, total) in zip(recorder.told, steps, strict=True):
        assert shown is None if total is None else shown == max(done, total)


def test_lines_say_how_much_is_left_where_that_is_known():
    lines: list[str] = []
    with shown_by(LogReporter(lines.append, seconds=0)):
        report = progress_of("work", LOG, detail="piece 1")
        for done, total in ((0, 4), (4, 4), (5, 4), (6, None)):
            report(done, total)
    # The first before any step is done, since that may take long.
    assert lines == [
        "work: piece 1",
        "work: piece 1: 4 of 4, about 0 s left",
        "work: piece 1: 5 of 5, about 0 s left",
        "work: piece 1: 6",
    ]
