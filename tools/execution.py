"""Running many calls of one tool: in batches, each call with a deadline, none able to end the run.

Calls run in a worker thread; one that hangs is left behind. Does not isolate memory or the file
system, does not stop a thread that hangs, does not remember results, and does not shorten them to
a number of tokens.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

from tools.base import BaseTool
from tools.errors import (
    CallSyntaxError,
    MissingDependencyError,
    ToolCallError,
    ToolDiedError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.protocol import Document, Tool, ToolResult
from tools.syntax import clean_result

_LOGGER = logging.getLogger(__name__)

_Request: TypeAlias = tuple[str, Document]
# What came back for one call, and the seconds it took.
_Outcome: TypeAlias = tuple[object, float]
# Work gets a function to report an outcome with, and one that tells whether more are wanted.
_Work: TypeAlias = Callable[[Callable[[_Outcome], None], Callable[[], bool]], None]

# Errors after which no call of the tool can work.
_WHOLE_TOOL_ERRORS = (ToolDiedError, ToolUnavailableError, MissingDependencyError)
_MOST_TIMEOUTS_IN_A_ROW = 3
# A batch gets the sum of its calls' deadlines, but not more than this many of them: a batch that
# hangs would otherwise hold up a run for as long as hundreds of calls that hang.
_MOST_DEADLINES_PER_BATCH = 20


def execute_calls(
    tool: Tool,
    requests: Sequence[tuple[str, Document]],
    *,
    deadline_seconds: float,
    batch_size: int = 256,
) -> list[ToolResult]:
    """Run calls of one tool (paper, section 2, "Executing API Calls").

    A tool that has a `call_batch` of its own gets whole batches; when a batch raises or takes
    longer than its calls may together (at most 20 deadlines), its calls are made one by one. The
    calls of other tools are made one by one from the start. A call that exceeds its deadline is
    left behind in a daemon thread, which never keeps the interpreter from exiting.

    Args:
        tool: The tool.
        requests: Pairs of normalised arguments and the text that asks.
        deadline_seconds: Longest time of one call, above 0.
        batch_size: Most calls per batch, at least 1.

    Returns:
        One result per request, in the same order. Failed ones have the reason given by the tool,
        or `timeout`, `empty_result`, or `tool_error` for an exception that the tool should not
        raise.

    Raises:
        ToolDiedError: When three calls in a row exceed the deadline.
        ToolUnavailableError: When the tool finds that it cannot run at all.
        MissingDependencyError: When the tool lacks a package.
        ValueError: When the deadline or the batch size is out of range.

    Example:
        >>> from tools.calculator import Calculator
        >>> requests = [("6 * 7", Document("a", "")), ("1 / 0", Document("b", ""))]
        >>> results = execute_calls(Calculator(), requests, deadline_seconds=10)
        >>> [(result.result, result.reason) for result in results]
        [('42', None), (None, 'division_by_zero')]
    """
    if not deadline_seconds > 0:
        raise ValueError(f"deadline_seconds is {deadline_seconds!r}. Expected a time above 0.")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}. Expected at least 1.")
    run = _Run(tool, deadline_seconds)
    if getattr(type(tool), "call_batch", None) is BaseTool.call_batch:
        # The default is a loop. Looping here gives every call a deadline of its own.
        return run.call_each(requests)
    results: list[ToolResult] = []
    for start in range(0, len(requests), batch_size):
        results += run.call_batch(requests[start : start + batch_size])
    return results


class _Run:
    """The state of one run over many calls.

    Args:
        tool: The tool.
        deadline_seconds: Longest time of one call.
    """

    def __init__(self, tool: Tool, deadline_seconds: float) -> None:
        self.tool = tool
        self.deadline_seconds = deadline_seconds
        self.timeouts_in_a_row = 0
        self.reported_errors: set[type] = set()

    def call_batch(self, requests: Sequence[_Request]) -> list[ToolResult]:
        """Make the calls of one batch together, or one by one if that does not work."""

        def work(report: Callable[[_Outcome], None], is_wanted: Callable[[], bool]) -> None:  # noqa: ARG001
            report(_attempt(lambda: self.tool.call_batch(requests)))

        most_deadlines = min(len(requests), _MOST_DEADLINES_PER_BATCH)
        with _Task(work) as task:
            outcome = task.next_outcome(self.deadline_seconds * most_deadlines)
        if outcome is None:
            _LOGGER.warning(
                "%s did not answer a batch of %d calls in time; its calls are made one by one.",
                self.tool.name,
                len(requests),
            )
            return self.call_each(requests)
        answers, seconds = outcome
        if not isinstance(answers, list) or len(answers) != len(requests):
            if isinstance(answers, _WHOLE_TOOL_ERRORS):
                raise answers
            self._report_once(answers)
            return self.call_each(requests)
        return [self._result(answer, seconds / len(requests)) for answer in answers]

    def call_each(self, requests: Sequence[_Request]) -> list[ToolResult]:
        """Make calls one by one; after one that hangs, go on in a new thread."""
        results: list[ToolResult] = []
        while len(results) < len(requests):
            remaining = requests[len(results) :]

            def work(
                report: Callable[[_Outcome], None],
                is_wanted: Callable[[], bool],
                remaining: Sequence[_Request] = remaining,
            ) -> None:
                for arguments, document in remaining:
                    if not is_wanted():
                        return
                    report(_attempt(lambda request=(arguments, document): self.tool.call(*request)))

            with _Task(work) as task:
                for _ in remaining:
                    outcome = task.next_outcome(self.deadline_seconds)
                    if outcome is None:
                        late = ToolTimeoutError(
                            f"{self.tool.name} did not answer within {self.deadline_seconds:g} s."
                        )
                        results.append(self._result(late, self.deadline_seconds))
                        break
                    results.append(self._result(*outcome))
        return results

    def _result(self, answer: object, seconds: float) -> ToolResult:
        """Turn what a call gave into its result."""
        if isinstance(answer, _WHOLE_TOOL_ERRORS):
            raise answer
        duration_ms = seconds * 1000
        if isinstance(answer, TimeoutError):
            self._count_timeout()
            return ToolResult("failed", None, "timeout", duration_ms)
        self.timeouts_in_a_row = 0
        if isinstance(answer, ToolCallError | CallSyntaxError):
            return ToolResult("failed", None, answer.reason, duration_ms)
        if not isinstance(answer, str):
            self._report_once(answer)
            return ToolResult("failed", None, "tool_error", duration_ms)
        cleaned = clean_result(answer)
        if not cleaned:
            return ToolResult("failed", None, "empty_result", duration_ms)
        return ToolResult("executed", cleaned, None, duration_ms)

    def _count_timeout(self) -> None:
        """Count a call that took too long, and give the tool up at the third in a row."""
        self.timeouts_in_a_row += 1
        if self.timeouts_in_a_row >= _MOST_TIMEOUTS_IN_A_ROW:
            raise ToolDiedError(
                f"{self.tool.name} did not answer {self.timeouts_in_a_row} calls in a row within "
                f"{self.deadline_seconds:g} s each. Expected an answer or an error in that time; "
                "check what the tool depends on, or give its calls a longer deadline."
            )

    def _report_once(self, answer: object) -> None:
        """Log what a tool should not have given, once per kind: there may be thousands."""
        if type(answer) in self.reported_errors:
            return
        self.reported_errors.add(type(answer))
        _LOGGER.warning(
            "%s gave %s instead of an answer: %s",
            self.tool.name,
            type(answer).__name__,
            answer,
            exc_info=answer if isinstance(answer, BaseException) else None,
        )


def _attempt(action: Callable[[], object]) -> _Outcome:
    """Do something, and return its result or its exception with the seconds it took."""
    started = time.perf_counter()
    try:
        answer = action()
    # The one place where foreign code runs: whatever it raises is data about this call.
    except Exception as error:  # noqa: BLE001
        answer = error
    return answer, time.perf_counter() - started


class _Task:
    """Work in a worker thread, as a context: leaving it tells the work to stop.

    Args:
        work: Reports outcomes one after the other.
    """

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._is_left = threading.Event()

    def __enter__(self) -> Self:
        try:
            worker = _idle_workers.pop()
        except IndexError:
            worker = _Worker()
        worker.start(lambda: self._work(self._outcomes.put, lambda: not self._is_left.is_set()))
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left.set()

    def next_outcome(self, seconds: float) -> _Outcome | None:
        """Wait for the next outcome, or return None when it does not come in time."""
        try:
            return self._outcomes.get(timeout=seconds)
        except queue.Empty:
            return None


class _Worker:
    """A thread that does one piece of work after another and never keeps the process alive.

    Threads are used again and again, because a Java virtual machine remembers every thread that
    called it. Not a `ThreadPoolExecutor`, which waits at exit for a call that hangs.
    """

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="tool-calls", daemon=True).start()

    def start(self, action: Callable[[], None]) -> None:
        """Have something done in the thread."""
        self._inbox.put(action)

    def _serve(self) -> None:
        while True:
            self._inbox.get()()
            _idle_workers.append(self)


_idle_workers: list[_Worker] = []
