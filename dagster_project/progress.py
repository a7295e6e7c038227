"""Progress of long work, for whoever watches: log lines in a run, bars on the command line.

Does not know what is counted.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

# Told steps done and steps in all; None where nobody knows how many there will be.
ProgressCallback = Callable[[int, int | None], None]
_SECONDS_BETWEEN_LINES = 10.0


class ProgressReporter(Protocol):
    """Shows how far a piece of work is."""

    def start(self, description: str) -> ProgressCallback:
        """Begin a piece of work; its callback is never told more steps than there are in all."""
        ...


class LogReporter:
    """Writes a line before a piece of work, and every ten seconds one with the time left."""

    def __init__(self, write: Callable[[str], None]):
        self._write = write

    def start(self, description: str) -> ProgressCallback:
        """Begin a piece of work."""
        self._write(description)
        began = last_line = time.monotonic()

        def report(done: int, total: int | None) -> None:
            nonlocal last_line
            now = time.monotonic()
            if now - last_line < _SECONDS_BETWEEN_LINES or not done:
                return
            last_line = now
            if total is None:
                self._write(f"{description}: {done}")
                return
            left = (now - began) / done * (total - done)
            self._write(f"{description}: {done} of {total}, about {left:.0f} s left")

        return report


_reporter: ProgressReporter | None = None


@contextmanager
def shown_by(reporter: ProgressReporter) -> Iterator[None]:
    """Show progress by this reporter while the block runs; used by the command line."""
    global _reporter
    before, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = before


def progress_of(description: str, log: logging.Logger) -> ProgressCallback:
    """A callback for one piece of work, shown where this process shows progress.

    Where more is done than was planned, the plan grows: what is shown never overruns its total.
    """
    reporter = _reporter or LogReporter(log.info)
    show = reporter.start(description)

    def report(done: int, total: int | None) -> None:
        show(done, None if total is None else max(done, total))

    return report
