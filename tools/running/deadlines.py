"""Calls under a deadline: in batches or one by one, several at once, again after passing errors.

Work is done in daemon threads; a call that hangs is left behind in its own. Does not isolate memory
or the file system (`tools.running.isolation` does), does not stop a thread that hangs, and does not
remember results.
"""

import asyncio
import logging
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, Self, TypeAlias, TypeVar

from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from tools.errors import (
    CallSyntaxError,
    MissingDependencyError,
    ToolBugError,
    ToolCallError,
    ToolDiedError,
    ToolTimeoutError,
    ToolUnavailableError,
    reason_word,
)
from tools.protocol import LONGEST_MESSAGE, Outcome
from tools.syntax import clean_result

_LOGGER = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")

# Errors after which no call of the tool can work.
WHOLE_TOOL_ERRORS = (ToolDiedError, ToolUnavailableError, MissingDependencyError)
# After this many calls in a row without any answer, those that follow are not made: a server that
# is down would otherwise cost the deadline of thousands of calls.
MOST_FAILURES_IN_A_ROW = 20
# The reason of calls that were not made.
GIVEN_UP = "given_up"
# A batch gets the sum of its calls' deadlines, but not more than this many of them: a batch that
# hangs would otherwise hold up a run for as long as hundreds of calls that hang.
MOST_DEADLINES_PER_BATCH = 20
# An event loop that gives no sign of life for so long after a deadline is blocked.
_LOOP_GRACE_SECONDS = 1.0
# Work gets a function to report with, and one that tells whether more is wanted.
_Work: TypeAlias = Callable[[Callable[[Any], None], Callable[[], bool]], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What calls may take.

    Attributes:
        deadline_seconds: Longest time of one call, its repetitions included; above 0.
        batch_size: Most calls per batch, at least 1.
        attempts: How often a call is made that fails for a reason that may pass, at least 1.
        at_once: Calls that are made at the same time where they are made one by one, at least 1.

    Raises:
        ValueError: When a limit is out of range.
    """

    deadline_seconds: float
    batch_size: int = 256
    attempts: int = 3
    at_once: int = 1

    def __post_init__(self) -> None:
        if not self.deadline_seconds > 0:
            raise ValueError(
                f"deadline_seconds is {self.deadline_seconds!r}. Expected a time above 0."
            )
        for name in ("batch_size", "attempts", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}. Expected at least 1.")


_NOT_MADE = Outcome(None, GIVEN_UP, 0.0, is_lasting=False)


class Calls(Generic[RequestT]):
    """Makes the calls of one tool; failures become reasons.

    Args:
        name: The tool, for messages.
        call: Makes one call; raises where there is no answer.
        call_batch: Makes several, in order, errors among the answers; None where calls are made
            one by one.
        call_async: Makes one call in an event loop, instead of `call`.
        prepare: Loads what calls need; done once, before the first call, without a deadline.
        limits: What they may take.
        failures: Calls in a row without an answer, by tool; counted on. None to begin with none.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[RequestT], Any],
        *,
        call_batch: Callable[[list[RequestT]], list[Any]] | None = None,
        call_async: Callable[[RequestT], Coroutine[Any, Any, Any]] | None = None,
        prepare: Callable[[], None] = lambda: None,
        limits: Limits,
        failures: Counter[str] | None = None,
    ) -> None:
        self._name = name
        self._call = call
        self._call_batch = call_batch
        self._call_async = call_async
        self._prepare = prepare
        self._is_prepared = False
        self._limits = limits
        self._failures = Counter() if failures is None else failures
        self._reported: set[object] = set()
        self._lock = threading.Lock()
        policy: dict[str, Any] = {
            "stop": stop_after_attempt(limits.attempts),
            "wait": wait_exponential_jitter(multiplier=0.1, max=5.0, jitter=0.1),
            "retry": retry_if_exception_type(ConnectionError),
            "reraise": True,
        }
        self._retrying = Retrying(**policy)
        self._retrying_async = AsyncRetrying(**policy)

    def make(self, requests: Sequence[RequestT]) -> list[Outcome]:
        """Make calls.

        A batch that raises, comes back too short, or takes longer than its calls may together (at
        most 20 deadlines) is made again call by call. After 20 calls in a row that failed for
        reasons that may pass (no answer in time, an error of the network, a process that ended),
        the rest is given up, for as long as the count of failures lives.

        Args:
            requests: What the calls are made with.

        Returns:
            One outcome per request, in order. The reason is the tool's own as a word, or `timeout`,
            `transient_error`, `given_up`, or `tool_error` for an exception that the tool should not
            raise.

        Raises:
            ToolDiedError: When the tool says that it stopped working.
            ToolUnavailableError: When the tool finds that it cannot run at all.
            MissingDependencyError: When the tool lacks a package.
        """
        if requests and not self._is_prepared:
            self._prepare()
            self._is_prepared = True
        if self._call_batch is None:
            return self._make_each(requests)
        outcomes: list[Outcome] = []
        for start in range(0, len(requests), self._limits.batch_size):
            batch = list(requests[start : start + self._limits.batch_size])
            outcomes += self._make_batch(self._call_batch, batch)
        return outcomes

    def _make_batch(
        self, call_batch: Callable[[list[RequestT]], list[Any]], batch: list[RequestT]
    ) -> list[Outcome]:
        if self._is_given_up:
            return [_NOT_MADE] * len(batch)

        def work(report: Callable[[Any], None], is_wanted: Callable[[], bool]) -> None:  # noqa: ARG001
            report(self._attempt(lambda: call_batch(batch)))

        deadlines = min(len(batch), MOST_DEADLINES_PER_BATCH)
        with _Task(work) as task:
            reported = task.next_report(self._limits.deadline_seconds * deadlines)
        if reported is None:
            _LOGGER.warning(
                "%s did not answer a batch of %d calls in time; its calls are made one by one.",
                self._name,
                len(batch),
            )
            return self._make_each(batch)
        answers, seconds = reported
        if not isinstance(answers, list) or len(answers) != len(batch):
            if isinstance(answers, WHOLE_TOOL_ERRORS):
                raise answers
            self._report_once(answers)
            return self._make_each(batch)
        outcomes = [self._outcome(answer, seconds / len(batch)) for answer in answers]
        # The batch as a whole went well, and is not made again for a few.
        again = [place for place, answer in enumerate(answers) if _may_pass(answer)]
        for place, outcome in zip(
            again, self._make_each([batch[place] for place in again]), strict=True
        ):
            outcomes[place] = outcome
        return outcomes

    def _make_each(self, requests: Sequence[RequestT]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(requests)
        waiting = deque(range(len(requests)))
        lanes = min(self._limits.at_once, len(requests))
        if self._call_async is not None or lanes <= 1:
            self._supervise(requests, waiting, outcomes)
        else:
            with ThreadPoolExecutor(lanes) as pool:
                running = [
                    pool.submit(self._supervise, requests, waiting, outcomes) for _ in range(lanes)
                ]
                for lane in running:
                    try:
                        lane.result()
                    except WHOLE_TOOL_ERRORS:
                        # The other lanes stop after the call that they are at.
                        waiting.clear()
                        raise
        return [_NOT_MADE if outcome is None else outcome for outcome in outcomes]

    def _supervise(
        self,
        requests: Sequence[RequestT],
        waiting: deque[int],
        outcomes: list[Outcome | None],
    ) -> None:
        """See calls through; after one that hangs, go on in a new thread."""
        deadline = self._limits.deadline_seconds
        while waiting and not self._is_given_up:
            started: set[int] = set()
            work, grace = self._lane(requests, waiting, started)
            with _Task(work) as task:
                while True:
                    reported = task.next_report(deadline + grace)
                    if reported is None:
                        late = ToolTimeoutError(f"{self._name} took longer than {deadline:g} s.")
                        for place in sorted(started):
                            outcomes[place] = self._outcome(late, deadline)
                        break
                    place, (answer, seconds) = reported
                    if place is None:
                        break
                    outcomes[place] = self._outcome(answer, seconds)
                    if self._is_given_up:
                        break

    def _lane(
        self, requests: Sequence[RequestT], waiting: deque[int], started: set[int]
    ) -> tuple[_Work, float]:
        """Work that takes one waiting call after the other, and how late its reports may be."""

        def one_by_one(report: Callable[[Any], None], is_wanted: Callable[[], bool]) -> None:
            while is_wanted():
                try:
                    place = waiting.popleft()
                except IndexError:
                    return report((None, (None, 0.0)))
                started.add(place)
                attempt = self._attempt(lambda place=place: self._call(requests[place]))
                started.discard(place)
                report((place, attempt))
            return None

        def together(report: Callable[[Any], None], is_wanted: Callable[[], bool]) -> None:
            asyncio.run(self._make_together(requests, waiting, started, report, is_wanted))
            report((None, (None, 0.0)))

        if self._call_async is None:
            return one_by_one, 0.0
        return together, _LOOP_GRACE_SECONDS

    async def _make_together(
        self,
        requests: Sequence[RequestT],
        waiting: deque[int],
        started: set[int],
        report: Callable[[Any], None],
        is_wanted: Callable[[], bool],
    ) -> None:
        async def lane() -> None:
            while waiting and is_wanted():
                place = waiting.popleft()
                started.add(place)
                attempt = await self._attempt_async(requests[place])
                started.discard(place)
                report((place, attempt))

        await asyncio.gather(*(lane() for _ in range(self._limits.at_once)))

    def _attempt(self, action: Callable[[], Any]) -> tuple[Any, float]:
        """Do it, again where the error may pass; give the answer or error, and the seconds."""
        began = perf_counter()
        try:
            answer = self._retrying(action)
        except Exception as error:  # noqa: BLE001
            # A tool may raise anything; one call must never end a shard.
            answer = error
        return answer, perf_counter() - began

    async def _attempt_async(self, request: RequestT) -> tuple[Any, float]:
        assert self._call_async is not None
        began = perf_counter()
        try:
            async with asyncio.timeout(self._limits.deadline_seconds):
                answer = await self._retrying_async(self._call_async, request)
        except Exception as error:  # noqa: BLE001
            answer = error
        return answer, perf_counter() - began

    def _outcome(self, answer: object, seconds: float) -> Outcome:
        if isinstance(answer, WHOLE_TOOL_ERRORS):
            raise answer
        outcome = self._read(answer, seconds)
        is_failure = isinstance(answer, BaseException) and not outcome.is_lasting
        self._count(is_failure=is_failure and outcome.reason != "tool_error")
        return outcome

    def _read(self, answer: object, seconds: float) -> Outcome:
        if isinstance(answer, TimeoutError):
            return Outcome(None, "timeout", seconds, is_lasting=False)
        if isinstance(answer, ToolCallError | CallSyntaxError):
            is_lasting = getattr(answer, "is_lasting", True)
            reason, message = reason_word(answer.reason), str(answer.message)
            if reason != answer.reason:
                message = f"{answer.reason!r}: {message}"
                self._report_once(
                    ToolBugError(
                        "reason",
                        f"{self._name} gave the reason {answer.reason!r}, which is stored as "
                        f"{reason!r}. Expected a short word in snake_case.",
                    )
                )
            message = clean_result(message[:LONGEST_MESSAGE]) or None
            return Outcome(None, reason, seconds, is_lasting, message=message)
        if _may_pass(answer):
            return Outcome(None, "transient_error", seconds, is_lasting=False)
        if isinstance(answer, BaseException) or answer is None:
            self._report_once(answer)
            return Outcome(None, "tool_error", seconds, is_lasting=False)
        return Outcome(answer, None, seconds)

    def _count(self, *, is_failure: bool) -> None:
        """Count failures in a row, and give the tool up when they are too many."""
        with self._lock:
            if self._is_given_up:
                return
            self._failures[self._name] = self._failures[self._name] + 1 if is_failure else 0
            if not self._is_given_up:
                return
        _LOGGER.warning(
            "%s had no answer to %d calls in a row; its other calls are not made. Check what the "
            "tool depends on, or give its calls a longer deadline (execution.deadline_seconds).",
            self._name,
            self._failures[self._name],
        )

    @property
    def _is_given_up(self) -> bool:
        return self._failures[self._name] >= MOST_FAILURES_IN_A_ROW

    def _report_once(self, answer: object) -> None:
        """Log what a tool should not have given, once per kind or place: it may be thousands."""
        kind = answer.place if isinstance(answer, ToolBugError) else type(answer)
        if kind in self._reported:
            return
        self._reported.add(kind)
        if isinstance(answer, ToolBugError):
            # Without the stack, which leads to the other process and no further.
            _LOGGER.warning("A call failed by an error in the tool's code. %s", answer)
            return
        _LOGGER.warning(
            "%s gave %s instead of an answer: %s",
            self._name,
            type(answer).__name__,
            answer,
            exc_info=answer if isinstance(answer, BaseException) else None,
        )


def _may_pass(answer: object) -> bool:
    return isinstance(answer, ConnectionError)


class _Task:
    """Work in a worker thread, as a context: leaving it tells the work to stop.

    Args:
        work: Reports one thing after the other.
    """

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_left = threading.Event()

    def __enter__(self) -> Self:
        try:
            worker = _idle_workers.pop()
        except IndexError:
            worker = _Worker()
        worker.start(lambda: self._work(self._reports.put, lambda: not self._is_left.is_set()))
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left.set()

    def next_report(self, seconds: float) -> Any | None:
        """Wait for the next report, or return None when it does not come in time."""
        try:
            return self._reports.get(timeout=seconds)
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
