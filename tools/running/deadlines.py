"""Makes calls under a deadline, in batches or one by one, with retries after transient errors."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from pydantic import PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential

from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    ToolBugError,
    ToolCallError,
    ToolDiedError,
    ToolError,
    ToolUnavailableError,
    reason_code,
)
from tools.protocol import LONGEST_MESSAGE, Document, ToolResult
from tools.running.call_threads import answer_in_time
from tools.syntax import checked_answer, clean_result

_LOGGER = logging.getLogger(__name__)
_Request = tuple[str, Document]

# Errors after which no call of the tool can succeed.
WHOLE_TOOL_ERRORS = (ToolDiedError, ToolUnavailableError)
# After this many consecutive calls without an answer, further calls are not made. Otherwise a
# server that is down would cost the deadline of thousands of calls.
MAX_FAILURES_IN_A_ROW = 20
# Reason of calls that were not made; the next build makes them.
GIVEN_UP = "given_up"
# A batch gets the sum of its calls' deadlines, but at most this many deadlines. Otherwise a batch
# that hangs would block a run for as long as hundreds of calls.
MAX_DEADLINES_PER_BATCH = 20
# A call of a compute-bound tool may take this many deadlines. Otherwise the load of the machine
# would decide whether the call has an answer.
COMPUTE_DEADLINE_FACTOR = 10


@dataclass(frozen=True)
class Limits:
    """Limits of a call.

    Attributes:
        deadline_seconds: Time limit of a call including retries; ten times as long if the tool
            `is_compute_bound`.
        attempts: Number of attempts if a call fails for a transient reason.
    """

    deadline_seconds: PositiveFloat
    attempts: PositiveInt = 3


# Reasons of calls that the tool did not answer. Any other refusal counts as an answer, since the
# arguments may have caused it, even if the same call may succeed the next time.
_UNANSWERED = ("timeout", "transient_error", "process_ended", "server_died")
_NOT_MADE = ToolResult(None, GIVEN_UP, 0.0, is_permanent=False)


class Calls:
    """Makes the calls of one tool and turns failures into reasons. Not thread-safe.

    `failures` counts consecutive unanswered calls per tool; it is updated in place.
    """

    def __init__(self, tool: Tool, *, limits: Limits, failures: Counter[str] | None = None) -> None:
        self._tool = tool
        self._name = tool.name
        self._is_prepared = False
        # An isolated tool enforces the deadline itself and may have to start its process first.
        deadlines = COMPUTE_DEADLINE_FACTOR if tool.is_compute_bound else 1
        self._deadline_seconds = limits.deadline_seconds * deadlines + tool.start_seconds
        self._failures = Counter() if failures is None else failures
        self._reported: set[object] = set()
        self._retrying = Retrying(
            stop=stop_after_attempt(limits.attempts),
            # No jitter: one call at a time does not need it, and it would draw from the global
            # `random`, even in abandoned threads.
            wait=wait_exponential(multiplier=0.1, max=5.0),
            retry=retry_if_exception_type(ConnectionError),
            reraise=True,
        )

    def make(self, requests: Sequence[_Request]) -> list[ToolResult]:
        """Make calls, as one batch if the tool supports batches; return outcomes in order.

        A batch that raises, returns too few answers or exceeds its deadlines (at most 20) is
        repeated call by call. After 20 consecutive calls without an answer (timeout, network error
        or ended process) the remaining calls are not made.

        The reason of a failure is the tool's own in snake_case, or `timeout`, `transient_error`,
        `given_up`, or `tool_error` for an exception that the tool should not raise. Errors in
        WHOLE_TOOL_ERRORS are raised.
        """
        if requests and not self._is_prepared:
            self._tool.prepare()
            self._is_prepared = True
        # The default `call_batch` is a loop. A loop here gives every call its own deadline.
        if not requests or not self._tool.supports_batches or self._is_given_up:
            return [self._make(request) for request in requests]
        batch, deadlines = list(requests), min(len(requests), MAX_DEADLINES_PER_BATCH)
        answers, seconds = self._attempt(partial(self._tool.call_batch, batch), deadlines)
        if isinstance(answers, WHOLE_TOOL_ERRORS):
            raise answers
        if not isinstance(answers, list) or len(answers) != len(batch):
            self._report_once(answers)
            return [self._make(request) for request in batch]
        return [
            # Only failed calls are repeated, not the whole batch.
            self._make(request)
            if isinstance(answer, ConnectionError)
            else self._outcome(answer, seconds / len(batch))
            for request, answer in zip(batch, answers, strict=True)
        ]

    def _make(self, request: _Request) -> ToolResult:
        if self._is_given_up:
            return _NOT_MADE
        return self._outcome(*self._attempt(partial(self._tool.call, *request), deadlines=1))

    def _attempt(self, action: Callable[[], Any], deadlines: int) -> tuple[Any, float]:
        """Run an action with retries; return its answer or error, and the seconds it took."""
        began = perf_counter()
        answer = answer_in_time(partial(self._retrying, action), self._deadline_seconds * deadlines)
        return answer, perf_counter() - began

    def _outcome(self, answer: object, seconds: float) -> ToolResult:
        if isinstance(answer, WHOLE_TOOL_ERRORS):
            raise answer
        outcome = self._read(answer, seconds)
        if outcome.is_permanent or outcome.reason not in _UNANSWERED:
            self._failures[self._name] = 0
        elif not self._is_given_up:
            self._failures[self._name] += 1
            if self._is_given_up:
                _LOGGER.warning(
                    "%s had no answer to %d calls in a row, so its other calls are not made. Check "
                    "the services that the tool needs and the load of this machine, or set a "
                    "longer deadline (execution.deadline_seconds).",
                    self._name,
                    self._failures[self._name],
                )
        return outcome

    def _read(self, answer: object, seconds: float) -> ToolResult:
        reason, is_permanent, message = "tool_error", False, None
        if isinstance(answer, TimeoutError):
            reason = "timeout"
        elif isinstance(answer, ToolCallError | CallSyntaxError):
            is_permanent = getattr(answer, "is_permanent", True)
            reason = reason_code(answer.reason)
            prefix = "" if reason == answer.reason else f"{answer.reason!r}: "
            message = _as_stored(f"{prefix}{answer.message}")
        elif isinstance(answer, ConnectionError):
            reason = "transient_error"
            # A library's message may contain a key, for example in an address.
            message = _as_stored(answer if isinstance(answer, ToolError) else type(answer).__name__)
        elif isinstance(answer, str):
            return ToolResult(checked_answer(answer), None, seconds)
        else:
            self._report_once(answer)
        return ToolResult(None, reason, seconds, is_permanent, message=message)

    @property
    def _is_given_up(self) -> bool:
        return self._failures[self._name] >= MAX_FAILURES_IN_A_ROW

    def _report_once(self, answer: object) -> None:
        """Log an invalid answer once per type or source line, since there may be thousands."""
        kind = answer.location if isinstance(answer, ToolBugError) else type(answer)
        if kind not in self._reported:
            self._reported.add(kind)
            is_unexpected = not isinstance(answer, ToolError)
            _LOGGER.warning(
                "%s gave %s instead of an answer: %s",
                self._name,
                type(answer).__name__,
                answer,
                # The stack of this package's own errors shows nothing about the tool.
                exc_info=answer if isinstance(answer, BaseException) and is_unexpected else None,
            )


def _as_stored(message: object) -> str | None:
    return clean_result(str(message)[:LONGEST_MESSAGE]) or None
