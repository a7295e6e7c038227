"""A tool on trial: what it does with the calls that its prompt shows, and with garbage.

Each call is made as in a run: in a thread that is left behind when it takes longer than the
deadline.
"""

import datetime
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    PromptError,
    ToolCallError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.plugins import error_location, parse_arguments
from tools.prompting import demonstrations_of
from tools.protocol import Document
from tools.running.call_threads import answer_in_time
from tools.running.nasty_arguments import NASTY_ARGUMENTS
from tools.syntax import parse_sample

_DATE = datetime.date(2024, 5, 3)
_URL = "https://example.org/2024/05/03/story.html"
_MAX_TIMEOUTS = 3

Request = tuple[str, Document]
# What each call gave, errors as values.
Outcomes = list[tuple[Request, object]]


class BrokenRuleError(Exception):
    """The tool does not keep a rule."""


class NotTriedError(Exception):
    """A rule cannot be tried here."""


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
            # Not every value is one for every setting, and a tool that is ready has none.
            with suppress(ToolError):
                yield parameter.name, self.create({**self.settings, parameter.name: other})

    @cached_property
    def shown_calls(self) -> list[tuple[str, str]]:
        """Text and call of all that the prompt demonstrates; none of a prompt that is unusable."""
        try:
            shown = demonstrations_of(self.read_prompt(self.tool))
        except PromptError:
            return []
        return [(text, call) for text, calls in shown for call in calls]

    @cached_property
    def requests(self) -> list[Request]:
        """The demonstrated calls with their texts; those that are none are left out."""
        requests = []
        for number, (text, call) in enumerate(self.shown_calls):
            document = Document(f"demonstration-{number}", text, url=_URL, published_on=_DATE)
            with suppress(CallSyntaxError):
                requests.append((self.parsed(parse_sample(f"{call}]", self.name)), document))
        return requests

    @cached_property
    def accepted(self) -> dict[str, str]:
        """Text between brackets and the arguments it becomes, where the tool takes it."""
        taken = {}
        for text in (*(arguments for arguments, _ in self.requests), *NASTY_ARGUMENTS):
            with suppress(CallSyntaxError):
                taken[text] = self.parsed(parse_sample(f"{self.name}({text})]", self.name))
        return taken

    @cached_property
    def answered(self) -> Outcomes:
        """What the demonstrated calls give."""
        return self._outcomes(self.requests)

    @cached_property
    def answered_garbage(self) -> Outcomes:
        """What the garbage that the tool takes for calls gives."""
        document = Document("garbage", "A text.", url=_URL, published_on=_DATE)
        return self._outcomes([(arguments, document) for arguments in {*self.accepted.values()}])

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
            return self.timed(partial(parse_arguments, self.tool, text))
        except (CallSyntaxError, ToolUnavailableError):
            raise
        except Exception as error:
            raise CallSyntaxError("parse_error", f"It raises {type(error).__name__}.") from error

    def outcome(self, tool: Tool, request: Request) -> object:
        """Make one call; its error is a value."""
        try:
            return answer_in_time(partial(tool.call, *request), self.deadline_seconds)
        except ToolTimeoutError as error:
            return error

    def guarded(self, action: Callable[[], Any], what: str, seconds: float | None = None) -> Any:
        """Do something that must not raise anything."""
        try:
            return self.timed(action, seconds)
        # Foreign code may raise anything.
        except Exception as error:
            raise BrokenRuleError(
                f"{what} raises {error_text(error)}. Expected no error."
            ) from error

    def timed(self, action: Callable[[], Any], seconds: float | None = None) -> Any:
        """Do something within the deadline; an error is raised here."""
        answer = answer_in_time(action, seconds or self.deadline_seconds)
        if isinstance(answer, SystemExit):
            raise RuntimeError(f"it calls sys.exit({answer})")
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _outcomes(self, requests: Sequence[Request]) -> Outcomes:
        """Make calls one by one, until some were late: each of these leaves a thread behind."""
        results: Outcomes = []
        late = 0
        for request in sorted(requests, key=lambda request: request[0]):
            results.append((request, self.outcome(self.tool, request)))
            if not isinstance(results[-1][1], ToolTimeoutError):
                continue
            late += 1
            if late == _MAX_TIMEOUTS:
                break
            # What answered it may be busy with that call for ever.
            with suppress(ToolError):
                self.tool = self.create(self.settings)
        return results


def outcome_text(outcome: object) -> str:
    """An outcome as it is compared and shown: an answer, a reason, or what is neither."""
    if isinstance(outcome, ToolTimeoutError):
        return "timeout"
    if isinstance(outcome, ToolCallError):
        return str(outcome.reason)
    is_error = isinstance(outcome, BaseException)
    return f"{type(outcome).__name__}: {outcome}" if is_error else repr(outcome)


def error_text(error: BaseException) -> str:
    """An error in a message, with the place in the user's own file."""
    return f"{type(error).__name__}: {cut(str(error))}{error_location(error)}"


def shortened(value: object) -> str:
    """Show a value in a message, at most 80 characters of it."""
    return cut(repr(value))


def cut(text: str) -> str:
    """At most 80 characters of a text."""
    return text if len(text) <= 80 else f"{text[:77]}..."
