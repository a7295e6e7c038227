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
    ToolTimeoutError,
    ToolUnavailableError,
    reason_word,
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
DEADLINES_TO_COMPUTE = 10


@dataclass(frozen=True)
class Limits:
    """What calls may take.

    Attributes:
        deadline_seconds: Longest time of one call, its repetitions included; ten times as long
            where the tool `computes`.
        attempts: How often a call is made that fails for a reason that may pass.

    Raises:
        ValueError: When one is not above 0.
    """

    deadline_seconds: PositiveFloat
    attempts: PositiveInt = 3


# Reasons of calls that the tool did not answer. Any other refusal is an answer: the caller's
# arguments may be at fault, even where the same call may have a result the next time.
_UNANSWERED = ("timeout", "transient_error", "process_ended", "server_died")
_NOT_MADE = ToolResult(None, GIVEN_UP, 0.0, is_lasting=False)


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
        deadlines = DEADLINES_TO_COMPUTE if tool.computes else 1
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
        if not requests or not self._tool.has_batches or self._is_given_up:
            return self._make_singly(requests)
        return self._make_batch(list(requests))

    def _make_batch(self, batch: list[_Request]) -> list[ToolResult]:
        deadlines = min(len(batch), MAX_DEADLINES_PER_BATCH)
        answers, seconds = self._attempt(
            partial(self._tool.call_batch, batch), self._deadline_seconds * deadlines
        )
        if isinstance(answers, WHOLE_TOOL_ERRORS):
            raise answers
        if not isinstance(answers, list) or len(answers) != len(batch):
            if isinstance(answers, TimeoutError):
                _LOGGER.warning(
                    "%s did not answer a batch of %d calls in time; its calls are made one by one.",
                    self._name,
                    len(batch),
                )
            else:
                self._report_once(answers)
            return self._make_singly(batch)
        outcomes = [self._outcome(answer, seconds / len(batch)) for answer in answers]
        # The batch as a whole went well, and is not made again for a few.
        again = [
            index for index, answer in enumerate(answers) if isinstance(answer, ConnectionError)
        ]
        repeated = self._make_singly([batch[index] for index in again])
        for index, outcome in zip(again, repeated, strict=True):
            outcomes[index] = outcome
        return outcomes

    def _make_singly(self, requests: Sequence[_Request]) -> list[ToolResult]:
        outcomes = []
        for request in requests:
            if self._is_given_up:
                outcomes.append(_NOT_MADE)
                continue
            answer, seconds = self._attempt(
                partial(self._tool.call, *request), self._deadline_seconds
            )
            outcomes.append(self._outcome(answer, seconds))
        return outcomes

    def _attempt(self, action: Callable[[], Any], deadline_seconds: float) -> tuple[Any, float]:
        """Do it, again where the error may pass; give the answer or error, and the seconds."""
        began = perf_counter()
        try:
            answer = answer_in_time(partial(self._retrying, action), deadline_seconds)
        except ToolTimeoutError as error:
            answer = error
        return answer, perf_counter() - began

    def _outcome(self, answer: object, seconds: float) -> ToolResult:
        if isinstance(answer, WHOLE_TOOL_ERRORS):
            raise answer
        outcome = self._read(answer, seconds)
        self._count(is_failure=not outcome.is_lasting and outcome.reason in _UNANSWERED)
        return outcome

    def _read(self, answer: object, seconds: float) -> ToolResult:
        if isinstance(answer, TimeoutError):
            return ToolResult(None, "timeout", seconds, is_lasting=False)
        if isinstance(answer, ToolCallError | CallSyntaxError):
            is_lasting = getattr(answer, "is_lasting", True)
            reason, message = reason_word(answer.reason), str(answer.message)
            if reason != answer.reason:
                message = f"{answer.reason!r}: {message}"
            return ToolResult(None, reason, seconds, is_lasting, message=_as_stored(message))
        if isinstance(answer, ConnectionError):
            # What a library says may hold a key, such as that of an address.
            said = str(answer) if isinstance(answer, ToolError) else type(answer).__name__
            message = _as_stored(said)
            return ToolResult(None, "transient_error", seconds, is_lasting=False, message=message)
        if answer is not None and not isinstance(answer, BaseException):
            try:
                return ToolResult(checked_answer(answer), None, seconds)
            except TypeError as error:
                answer = error
        self._report_once(answer)
        return ToolResult(None, "tool_error", seconds, is_lasting=False)

    def _count(self, *, is_failure: bool) -> None:
        """Count failures in a row, and give the tool up when they are too many."""
        if self._is_given_up:
            return
        self._failures[self._name] = self._failures[self._name] + 1 if is_failure else 0
        if self._is_given_up:
            _LOGGER.warning(
                "%s had no answer to %d calls in a row; its other calls are not made. Check what "
                "the tool depends on and whether this machine is too busy, or give its calls a "
                "longer deadline (execution.deadline_seconds).",
                self._name,
                self._failures[self._name],
            )

    @property
    def _is_given_up(self) -> bool:
        return self._failures[self._name] >= MAX_FAILURES_IN_A_ROW

    def _report_once(self, answer: object) -> None:
        """Log what a tool should not have given, once per kind or place: it may be thousands."""
        kind = answer.location if isinstance(answer, ToolBugError) else type(answer)
        if kind in self._reported:
            return
        self._reported.add(kind)
        # The stack of an error in the tool's own code leads to its process and no further.
        has_stack = not isinstance(answer, ToolBugError)
        _LOGGER.warning(
            "%s gave %s instead of an answer: %s",
            self._name,
            type(answer).__name__,
            answer,
            exc_info=answer if has_stack and isinstance(answer, BaseException) else None,
        )


def _as_stored(message: str) -> str | None:
    return clean_result(message[:LONGEST_MESSAGE]) or None
