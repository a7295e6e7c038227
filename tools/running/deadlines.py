"""Calls under a deadline: in batches or one by one, again after errors that may pass."""

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

# Errors after which no call of the tool can work.
WHOLE_TOOL_ERRORS = (ToolDiedError, ToolUnavailableError)
# After this many calls in a row without any answer, those that follow are not made: a server that
# is down would otherwise cost the deadline of thousands of calls.
MAX_FAILURES_IN_A_ROW = 20
# The reason of calls that were not made; the next build makes them.
GIVEN_UP = "given_up"
# A batch gets the sum of its calls' deadlines, but not more than this many of them: a batch that
# hangs would otherwise hold up a run for as long as hundreds of calls that hang.
MAX_DEADLINES_PER_BATCH = 20
# A call that computes for seconds in this process may take this many deadlines: on a clock alone,
# what it answers would depend on what else the machine does.
COMPUTE_DEADLINE_FACTOR = 10


@dataclass(frozen=True)
class Limits:
    """What calls may take.

    Attributes:
        deadline_seconds: Longest time of one call, its repetitions included; ten times as long
            where the tool `is_compute_bound`.
        attempts: How often a call is made that fails for a reason that may pass.

    Raises:
        ValueError: When one is not above 0.
    """

    deadline_seconds: PositiveFloat
    attempts: PositiveInt = 3


# Reasons of calls that the tool did not answer. Any other refusal is an answer: the caller's
# arguments may be at fault, even where the same call may have a result the next time.
_UNANSWERED = ("timeout", "transient_error", "process_ended", "server_died")
_NOT_MADE = ToolResult(None, GIVEN_UP, 0.0, is_permanent=False)


class Calls:
    """Makes the calls of one tool; failures become reasons. For one thread.

    Args:
        failures: Calls in a row without an answer, by tool; counted on. None to begin with none.
    """

    def __init__(self, tool: Tool, *, limits: Limits, failures: Counter[str] | None = None) -> None:
        self._tool = tool
        self._name = tool.name
        self._is_prepared = False
        # A tool in its own process keeps the deadline itself, and may have to start first.
        deadlines = COMPUTE_DEADLINE_FACTOR if tool.is_compute_bound else 1
        self._deadline_seconds = limits.deadline_seconds * deadlines + tool.start_seconds
        self._failures = Counter() if failures is None else failures
        self._reported: set[object] = set()
        self._retrying = Retrying(
            stop=stop_after_attempt(limits.attempts),
            # Without jitter: a tool has one call at a time, and the draw would be of the global
            # `random`, also in threads that were left behind.
            wait=wait_exponential(multiplier=0.1, max=5.0),
            retry=retry_if_exception_type(ConnectionError),
            reraise=True,
        )

    def make(self, requests: Sequence[_Request]) -> list[ToolResult]:
        """Make calls, as one batch where the tool has a method for batches; prepare the tool once.

        A batch that raises, comes back too short, or takes longer than its calls may together (at
        most 20 deadlines) is made again call by call. After 20 calls in a row without an answer
        (none in time, an error of the network, a process that ended), the rest is given up, for as
        long as the count of failures lives.

        Returns:
            One outcome per request, in order. The reason is the tool's own as a word, or `timeout`,
            `transient_error`, `given_up`, or `tool_error` for an exception that the tool should not
            raise.

        Raises:
            ToolDiedError: When the tool says that it stopped working.
            ToolUnavailableError: When the tool finds that it cannot run at all.
        """
        if requests and not self._is_prepared:
            self._tool.prepare()
            self._is_prepared = True
        # The default is a loop. Looping outside of it gives every call a deadline of its own.
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
            # The batch as a whole went well, and is not made again for a few.
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
        """Do it, again where the error may pass; give the answer or error, and the seconds."""
        began = perf_counter()
        answer = answer_in_time(partial(self._retrying, action), self._deadline_seconds * deadlines)
        return answer, perf_counter() - began

    def _outcome(self, answer: object, seconds: float) -> ToolResult:
        """Read an answer or error, and count how many in a row were none."""
        if isinstance(answer, WHOLE_TOOL_ERRORS):
            raise answer
        outcome = self._read(answer, seconds)
        if outcome.is_permanent or outcome.reason not in _UNANSWERED:
            self._failures[self._name] = 0
        elif not self._is_given_up:
            self._failures[self._name] += 1
            if self._is_given_up:
                _LOGGER.warning(
                    "%s had no answer to %d calls in a row; its other calls are not made. Check "
                    "what the tool depends on and whether this machine is too busy, or give its "
                    "calls a longer deadline (execution.deadline_seconds).",
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
            said = "" if reason == answer.reason else f"{answer.reason!r}: "
            message = _as_stored(f"{said}{answer.message}")
        elif isinstance(answer, ConnectionError):
            reason = "transient_error"
            # What a library says may hold a key, such as that of an address.
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
        """Log what a tool should not have given, once per kind or place: it may be thousands."""
        kind = answer.location if isinstance(answer, ToolBugError) else type(answer)
        if kind not in self._reported:
            self._reported.add(kind)
            is_foreign = not isinstance(answer, ToolError)
            _LOGGER.warning(
                "%s gave %s instead of an answer: %s",
                self._name,
                type(answer).__name__,
                answer,
                # The stack of an error of this package leads to the tool's process and no further.
                exc_info=answer if isinstance(answer, BaseException) and is_foreign else None,
            )


def _as_stored(message: object) -> str | None:
    return clean_result(str(message)[:LONGEST_MESSAGE]) or None
