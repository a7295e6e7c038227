"""The errors of the tools package: each is a `ToolError` and a fitting builtin error."""

import re

_LONGEST_REASON = 100


def reason_word(reason: object) -> str:
    """Turn any reason into a snake_case word, as stored in tables.

    Example:
        >>> reason_word("HTTP 404: Not Found"), reason_word("")
        ('http_404_not_found', 'no_reason')
    """
    words = re.findall("[a-z0-9]+", str(reason).lower())
    return "_".join(words)[:_LONGEST_REASON] or "no_reason"


class ToolError(Exception):
    """Root of all errors of the tools package."""


class UnknownToolError(ToolError, LookupError):
    """No tool has this name."""


class ToolSettingsError(ToolError, ValueError):
    """A tool does not have a setting, or cannot use its value."""


class ToolRegistrationError(ToolError, ValueError):
    """A tool cannot be registered under this name or with this target."""


class PromptError(ToolError, ValueError):
    """A prompt cannot be used to annotate texts."""


class ToolTimeoutError(ToolError, TimeoutError):
    """A tool did not answer in time."""


class TransientToolError(ToolError, ConnectionError):
    """A call failed for a reason that may pass; it is retried a few times."""


class ToolDiedError(ToolError, RuntimeError):
    """A tool stopped working during a run; none of its results may be published."""


class TranslationFailedError(ToolError, RuntimeError):
    """A batch of texts could not be translated; single texts may be."""


class ToolBugError(ToolError, RuntimeError):
    """A tool raised an unexpected error, at a `location` in its code."""

    def __init__(self, location: str, message: str) -> None:
        super().__init__(location, message)
        self.location = location
        self.message = message

    def __str__(self) -> str:
        return self.message


class _ReasonedError(ToolError, ValueError):
    """An error about one call: a `reason` in snake_case, one per kind, and a `message`."""

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
        is_lasting: Whether the same call would be refused again; only then it is stored.
    """

    def __init__(self, reason: str, message: str, *, is_lasting: bool = True) -> None:
        super().__init__(reason, message)
        self.is_lasting = is_lasting


class ToolUnavailableError(ToolError, RuntimeError):
    """A tool cannot run at all here.

    Args:
        reason: What is missing, a clause without a full stop.
        remedy: What to do about it, a sentence without a full stop.
    """

    def __init__(self, tool_name: str, reason: str, remedy: str) -> None:
        super().__init__(tool_name, reason, remedy)
        self.tool_name = tool_name
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"The tool {self.tool_name} is unavailable: {self.reason}. {self.remedy}."


def changed_tool(tool_name: str, was: str, now: str) -> ToolUnavailableError:
    """Return the error for a tool whose version changed during a run."""
    reason = f"it changed while it was in use (it was {was!r}, and now: {now})"
    remedy = "Run the same again, and what the former one answered is made anew"
    return ToolUnavailableError(tool_name, reason, remedy)
