import logging

from hypothesis import given
from hypothesis import strategies as st

from toolformer.home import progress
from toolformer.home.progress import (
    LogReporter,
    ProgressCallback,
    progress_of,
    show_progress_with,
    show_waiting,
)

LOG = logging.getLogger(__name__)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.summary: list[tuple[int, int | None]] = []

    def __call__(self, stage: str, detail: str) -> ProgressCallback:
        return lambda done, total: self.summary.append((done, total))


@given(st.lists(st.tuples(st.integers(0, 99), st.none() | st.integers(0, 99))))
def test_progress_never_overruns_its_total(steps: list[tuple[int, int | None]]):
    recorder = Recorder()
    with show_progress_with(recorder):
        report = progress_of("work", LOG)
        for done, total in steps:
            report(done, total)
    assert [done for done, _ in recorder.summary] == [done for done, _ in steps]
    for (done, shown), (_, total) in zip(recorder.summary, steps, strict=True):
        assert shown is None if total is None else shown == max(done, total)


def test_waiting_is_a_stage_that_ends_where_progress_is_shown():
    recorder = Recorder()
    with show_progress_with(recorder), show_waiting("waiting for another run", LOG):
        assert recorder.summary == []
    assert recorder.summary == [(1, 1)]


def test_the_time_left_is_by_what_was_done_since_the_first_report(monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    report = LogReporter(lines.append)("finetuning", "calls")
    # After 100 s of other work the steps of an earlier run are told, then a new one each minute.
    for seconds, done in ((100, 5), (160, 6), (220, 7), (1060, 21)):
        now[0] = seconds
        report(done, 21)
    assert lines == [
        "finetuning: calls: 5 of 21",
        "finetuning: calls: 6 of 21, about 900 s left",
        "finetuning: calls: 7 of 21, about 840 s left",
    ]
