"""A tool on trial: what it does with the calls that its prompt shows, and with garbage.

Each call is made in a thread that is left behind when it takes longer than the deadline.
"""

import datetime
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    PromptError,
    ToolCallError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.nasty_arguments import NASTY_ARGUMENTS
from tools.plugins.plugins import error_location
from tools.prompting import demonstrations_of
from tools.protocol import Document
from tools.syntax import parse_sample

_Value = TypeVar("_Value")

_DATE = datetime.date(2024, 5, 3)
_URL = "https://example.org/2024/05/03/story.html"
_MAX_TIMEOUTS = 3


class BrokenRuleError(Exception):
    """The tool does not keep a rule."""


class NotTriedError(Exception):
    """A rule cannot be tried here."""


class _LateError(TimeoutError):
    """Something took longer than the deadline."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What a call gave: an answer, the reason for none, or what it should not have given.

    Attributes:
        answer: What it answered.
        reason: Reason of a call without an answer.
        wrong: What it raised or returned instead of either.
        is_late: Whether the deadline passed.
        location: Where its error was raised, as an insertion; not compared.
    """

    answer: str | None = None
    reason: str | None = None
    wrong: str | None = None
    is_late: bool = False
    location: str = field(default="", compare=False)

    @classmethod
    def of(cls, answer: object) -> "TrialOutcome":
        """The outcome of a call that returned or raised this."""
        if isinstance(answer, str):
            return cls(answer=answer)
        if isinstance(answer, ToolCallError):
            return cls(reason=answer.reason)
        if isinstance(answer, _LateError | ToolTimeoutError):
            return cls(reason="timeout", is_late=True)
        if isinstance(answer, BaseException):
            wrong = f"{type(answer).__name__}: {answer}"
            return cls(wrong=wrong, location=error_location(answer))
        return cls(wrong=f"{type(answer).__name__} {answer!r}")

    def __repr__(self) -> str:
        return repr(self.answer) if self.answer is not None else str(self.reason or self.wrong)


Request = tuple[str, Document]


class Trial:
    """One tool and what was found out about it so far.

    Args:
        create: Makes a fresh tool with settings.
        read_prompt: Gives the few-shot prompt of the tool; may raise PromptError.
    """

    def __init__(
        self,
        name: str,
        create: Callable[[Mapping[str, object]], Tool],
        settings: Mapping[str, object],
        read_prompt: Callable[[Tool], str],
        deadline_seconds: float,
    ) -> None:
        self.name = name
        self.create = create
        self.settings = dict(settings)
        self.read_prompt = read_prompt
        self.deadline_seconds = deadline_seconds
        self.tool = create(self.settings)

    def tools_with_one_change(self) -> Iterator[tuple[str, Tool]]:
        """Tools that differ from this one in one setting."""
        for parameter in inspect.signature(type(self.tool)).parameters.values():
            value = self.settings.get(parameter.name, parameter.default)
            if isinstance(value, bool):
                other: object = not value
            elif isinstance(value, int | float):
                other = value + 1 if isinstance(value, int) else value / 2 or 0.5
            else:
                continue
            try:
                yield parameter.name, self.create({**self.settings, parameter.name: other})
            except ToolError:
                # Not every value is one for every setting, and a tool that is ready has none.
                continue

    @cached_property
    def shown_calls(self) -> list[tuple[str, str]]:
        """Text and call of all that the prompt demonstrates."""
        try:
            prompt = self.read_prompt(self.tool)
        except PromptError as error:
            raise NotTriedError("there is no usable prompt") from error
        shown = demonstrations_of(prompt)
        return [(text, call) for text, calls in shown for call in calls]

    @cached_property
    def requests(self) -> list[Request]:
        """The demonstrated calls with their texts; those that are none are left out."""
        shown_requests = []
        try:
            shown = self.shown_calls
        except NotTriedError:
            return []
        for number, (text, call) in enumerate(shown):
            document = Document(f"demonstration-{number}", text, url=_URL, published_on=_DATE)
            try:
                arguments = self.tool.parse_arguments(parse_sample(f"{call}]", self.name))
            except CallSyntaxError:
                continue
            shown_requests.append((arguments, document))
        return shown_requests

    @cached_property
    def accepted(self) -> dict[str, str]:
        """Text between brackets and the arguments it becomes, where the tool takes it."""
        shown = [arguments for arguments, _ in self.requests]
        taken = {}
        for text in (*shown, *NASTY_ARGUMENTS):
            try:
                arguments = self.parsed(parse_sample(f"{self.name}({text})]", self.name))
            except CallSyntaxError:
                continue
            taken[text] = arguments
        return taken

    @cached_property
    def answered(self) -> list[tuple[Request, TrialOutcome]]:
        """What the demonstrated calls give."""
        return self.outcomes(self.requests)

    @cached_property
    def answered_garbage(self) -> list[tuple[Request, TrialOutcome]]:
        """What the garbage that the tool takes for calls gives."""
        document = Document("garbage", "A text.", url=_URL, published_on=_DATE)
        return self.outcomes([(arguments, document) for arguments in {*self.accepted.values()}])

    @cached_property
    def unavailable(self) -> str | None:
        """Why the tool cannot run here."""
        try:
            self.tool.check_available()
        except ToolUnavailableError as error:
            return str(error)
        return None

    def need_available(self) -> None:
        """Skip the rule where the tool cannot run."""
        if self.unavailable is not None:
            raise NotTriedError("it cannot run here")

    def need_demonstrations(self) -> None:
        """Skip the rule where there is no call to make."""
        self.need_available()
        if not self.requests:
            raise NotTriedError("the prompt shows no call to try")

    def parsed(self, text: str) -> str:
        """Normalised arguments; what `garbage_is_refused` complains about is no call here."""
        try:
            arguments: object = self.timed(lambda: self.tool.parse_arguments(text))
        except (CallSyntaxError, ToolUnavailableError):
            raise
        except Exception as error:
            raise CallSyntaxError("parse_error", f"It raises {type(error).__name__}.") from error
        return str(arguments)

    def outcomes(self, requests: Sequence[Request]) -> list[tuple[Request, TrialOutcome]]:
        """Make calls one by one, until some were late: each of these leaves a thread behind."""
        results = []
        for request in sorted(requests, key=lambda request: request[0]):
            results.append((request, self.outcome(self.tool, request)))
            if results[-1][1].is_late:
                # What answered it may be busy with that call for ever.
                with suppress(ToolError):
                    self.tool = self.create(self.settings)
            if sum(outcome.is_late for _, outcome in results) >= _MAX_TIMEOUTS:
                break
        return results

    def outcome(self, tool: Tool, request: Request) -> TrialOutcome:
        """Make one call."""
        try:
            return TrialOutcome.of(self.timed(lambda: tool.call(*request)))
        # Foreign code may raise anything, which is an outcome like others here.
        except Exception as error:  # noqa: BLE001
            return TrialOutcome.of(error)

    def guarded(
        self, action: Callable[[], _Value], what: str, seconds: float | None = None
    ) -> _Value:
        """Do something that must not raise anything."""
        try:
            return self.timed(action, seconds)
        # Foreign code may raise anything.
        except Exception as error:
            raise BrokenRuleError(
                f"{what} raises {error_text(error)}. Expected no error."
            ) from error

    def timed(self, action: Callable[[], _Value], seconds: float | None = None) -> _Value:
        """Do something in a thread that is left behind when it takes longer than the deadline."""
        results: list[_Value] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                results.append(action())
            # Raised again in the thread that waits.
            except Exception as error:  # noqa: BLE001
                errors.append(error)
            except SystemExit as error:
                errors.append(RuntimeError(f"it calls sys.exit({error})"))

        thread = threading.Thread(target=work, name="tool-contract", daemon=True)
        thread.start()
        thread.join(seconds or self.deadline_seconds)
        if errors:
            raise errors[0]
        if not results:
            raise _LateError(f"no answer within {seconds or self.deadline_seconds:g} s")
        return results[0]


def error_text(error: BaseException) -> str:
    """An error in a message, with the place in the user's own file."""
    return f"{type(error).__name__}: {shortened(str(error))}{error_location(error)}"


def shortened(value: object) -> str:
    """Show a value in a message, at most 80 characters of it."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
