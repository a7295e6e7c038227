"""The errors of the tools package.

Every error here is a `ToolError` and, where one fits, also the builtin kind that it refines, so
that callers may catch either.
"""

import re

_LONGEST_REASON = 100


def reason_word(reason: object) -> str:
    """Write a reason, which may be a stranger's, as the snake_case word that tables hold.

    Example:
        >>> reason_word("HTTP 404: Not Found"), reason_word("")
        ('http_404_not_found', 'no_reason')
    """
    words = re.findall("[a-z0-9]+", str(reason).lower())
    return "_".join(words)[:_LONGEST_REASON] or "no_reason"


class ToolError(Exception):
    """Root of all errors of the tools package."""


class UnknownToolError(ToolError, LookupError):
    """No tool has the name that was asked for."""


class ToolSettingsError(ToolError, ValueError):
    """A tool was given a setting that it does not have, or a value that it cannot use."""


class ToolRegistrationError(ToolError, ValueError):
    """A tool is registered under a name, or with a target, that cannot be used."""


class PromptError(ToolError, ValueError):
    """A prompt file cannot be used to annotate texts."""


class ToolTimeoutError(ToolError, TimeoutError):
    """A tool did not answer in time."""


class TransientToolError(ToolError, ConnectionError):
    """A call failed for a reason that may pass; it is made again, a few times."""


class ToolDiedError(ToolError, RuntimeError):
    """A tool stopped working during a run; no result of it may be published."""


class TranslationFailedError(ToolError, RuntimeError):
    """Texts could not be translated together; each alone they may be."""


class ToolBugError(ToolError, RuntimeError):
    """A tool raised what no tool should, at a `location` in its own code."""

    def __init__(self, location: str, message: str) -> None:
        super().__init__(location, message)
        self.location = location
        self.message = message

    def __str__(self) -> str:
        return self.message


class _ReasonedError(ToolError, ValueError):
    """An error about one call.

    Args:
        reason: Short snake_case word, the same for all errors of one kind.
        message: What is wrong, what was expected, what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class CallSyntaxError(_ReasonedError):
    """A text is not a call of the tool."""


class ToolCallError(_ReasonedError):
    """A well-formed call has no answer, for example a division by zero.

    Args:
        is_lasting: Whether the same call would be refused again; only then it is remembered.
    """

    def __init__(self, reason: str, message: str, *, is_lasting: bool = True) -> None:
        super().__init__(reason, message)
        self.is_lasting = is_lasting


class ToolUnavailableError(ToolError, RuntimeError):
    """A tool cannot run at all here.

    Args:
        reason: What is missing, as a clause without a full stop.
        remedy: What the user can do about it, as a sentence without a full stop.
    """

    def __init__(self, tool_name: str, reason: str, remedy: str) -> None:
        super().__init__(tool_name, reason, remedy)
        self.tool_name = tool_name
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"The tool {self.tool_name} is unavailable: {self.reason}. {self.remedy}."


def changed_tool(tool_name: str, was: str, now: str) -> ToolUnavailableError:
    """The error for a tool whose answers no longer are those of its version."""
    reason = f"it changed while it was in use (it was {was!r}, and now: {now})"
    remedy = "Run the same again, and what the former one answered is made anew"
    return ToolUnavailableError(tool_name, reason, remedy)
