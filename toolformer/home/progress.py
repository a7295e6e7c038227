"""Progress of long work: log lines in a run, progress bars in a command."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Receives the steps done and the total, or None if the total is unknown.
ProgressCallback = Callable[[int, int | None], None]
_SECONDS_BETWEEN_LINES = 10.0


# Begins a task. Its arguments are the stage, such as `sampling calls`, and the detail, such as
# `shard-00003, Calendar`, which may be empty.
ProgressReporter = Callable[[str, str], ProgressCallback]


class LogReporter:
    """Reporter that writes a line with the remaining time every few seconds.

    With `names_stages`, it also writes the name of each stage before its first task.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        names_stages: bool = False,
        seconds: float = _SECONDS_BETWEEN_LINES,
    ):
        self._write = write
        self._names_stages = names_stages
        self._seconds = seconds
        self._stages: set[str] = set()
        self._last_line = time.monotonic()

    def __call__(self, stage: str, detail: str) -> ProgressCallback:
        description = f"{stage}: {detail}" if detail else stage
        if self._names_stages and stage not in self._stages:
            self._stages.add(stage)
            self._line(stage)
        # Time and steps of the first report. A resumed task starts with steps of an earlier run,
        # which must not count towards the speed.
        first: tuple[float, int] | None = None

        def report(done: int, total: int | None) -> None:
            nonlocal first
            now = time.monotonic()
            first = first or (now, done)
            if now - self._last_line < self._seconds or not done or done == total:
                return
            if total is None:
                self._line(f"{description}: {done}")
                return
            line = f"{description}: {done} of {total}"
            if (new := done - first[1]) > 0:
                left = (now - first[0]) / new * (total - done)
                line += f", about {left:.0f} s left"
            self._line(line)

        return report

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._write(text)


_reporter: ProgressReporter | None = None


@contextmanager
def show_progress_with(reporter: ProgressReporter) -> Iterator[None]:
    """Report the progress of this process to a reporter while the block runs."""
    global _reporter
    before, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = before


@contextmanager
def show_waiting(line: str, log: logging.Logger) -> Iterator[None]:
    """Report that the process waits: as progress if it is displayed, otherwise in the log."""
    if _reporter is None:
        # Commands without a progress display print warnings, but not messages of level info.
        log.warning(line)
        yield
    else:
        log.info(line)
        show = _reporter(line, "")
        yield
        show(1, 1)


def progress_of(stage: str, log: logging.Logger, *, detail: str = "") -> ProgressCallback:
    """Return the callback of one task. If a task exceeds its total, the total grows with it."""
    reporter = _reporter or LogReporter(log.info)
    show = reporter(stage, detail)

    def report(done: int, total: int | None) -> None:
        show(done, None if total is None else max(done, total))

    return report
