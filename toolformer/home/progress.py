"""Progress of long work, for whoever watches: log lines in a run, a line per stage in a command."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Told steps done and steps in all; None where nobody knows how many there will be.
ProgressCallback = Callable[[int, int | None], None]
_SECONDS_BETWEEN_LINES = 10.0


# Begins a piece of work. It is given the stage, such as `sampling calls`, and the piece, such as
# `shard-00003, Calendar`, which may be empty.
ProgressReporter = Callable[[str, str], ProgressCallback]


class LogReporter:
    """Writes lines with the time left while a piece of work takes long.

    Args:
        names_stages: whether a line before its first piece of work names each stage.
        seconds: between two lines of one piece.
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
        """Begin a piece of work."""
        description = f"{stage}: {detail}" if detail else stage
        if self._names_stages and stage not in self._stages:
            self._stages.add(stage)
            self._line(stage)
        # When the first report came, and how much was done: by an earlier run, or while other work
        # was done before this.
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
    """Show progress by this reporter while the block runs; used by the command line."""
    global _reporter
    before, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = before


@contextmanager
def show_waiting(line: str, log: logging.Logger) -> Iterator[None]:
    """Say whom this process waits for in the block: where it shows progress, else in the log."""
    if _reporter is None:
        # Warnings reach the error output of a command that shows no progress.
        log.warning(line)
        yield
    else:
        log.info(line)
        show = _reporter(line, "")
        yield
        show(1, 1)


def progress_of(stage: str, log: logging.Logger, *, detail: str = "") -> ProgressCallback:
    """A callback for one piece of work, shown where this process shows progress.

    Where more is done than was planned, the plan grows: what is shown never overruns its total.

    Args:
        stage, detail: see `ProgressReporter`.
        log: has the lines where no command shows progress.
    """
    reporter = _reporter or LogReporter(log.info)
    show = reporter(stage, detail)

    def report(done: int, total: int | None) -> None:
        show(done, None if total is None else max(done, total))

    return report
