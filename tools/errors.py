"""Defines the errors of the tools package; each derives from `ToolError` and a built-in one."""

import re

_LONGEST_REASON = 100


def reason_code(reason: object) -> str:
    """Convert a reason to snake_case of at most 100 characters, as stored in tables.

    Example:
        >>> reason_code("HTTP 404: Not Found"), reason_code("")
        ('http_404_not_found', 'no_reason')
    """
    words = re.findall("[a-z0-9]+", str(reason).lower())
    return "_".join(words)[:_LONGEST_REASON] or "no_reason"


class ToolError(Exception):
    """Base class of all errors of the tools package."""


class UnknownToolError(ToolError, LookupError):
    """Error for a name that no tool has."""


class ToolSettingsError(ToolError, ValueError):
    """Error for a setting that a tool does not have, or a value that it cannot use."""


class ToolRegistrationError(ToolError, ValueError):
    """Error for a name or target under which no tool can be registered."""


class PromptError(ToolError, ValueError):
    """Error for a prompt that cannot be used to annotate texts."""


class ToolTimeoutError(ToolError, TimeoutError):
    """Error for a tool that did not answer in time."""


class TransientToolError(ToolError, ConnectionError):
    """Error that may go away by itself; the call is retried a few times."""


class ToolDiedError(ToolError, RuntimeError):
    """Failure of a tool during a run; none of its results may be published."""


class TranslationFailedError(ToolError, RuntimeError):
    """Error for a batch that could not be translated; its texts may still succeed singly."""


class ToolBugError(ToolError, RuntimeError):
    """Unexpected error inside a tool, at a `location` in its code."""

    def __init__(self, location: str, message: str) -> None:
        super().__init__(location, message)
        self.location = location
        self.message = message

    def __str__(self) -> str:
        return self.message


class _ReasonedError(ToolError, ValueError):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class CallSyntaxError(_ReasonedError):
    """Error for a text that is not a call of the tool."""


class ToolCallError(_ReasonedError):
    """Error for a well-formed call without an answer, such as a division by zero.

    The failure is stored only if the same call would fail again (`is_permanent`).
    """

    def __init__(self, reason: str, message: str, *, is_permanent: bool = True) -> None:
        super().__init__(reason, message)
        self.is_permanent = is_permanent


class ToolUnavailableError(ToolError, RuntimeError):
    """Error for a tool that cannot run on this machine.

    `reason` is a clause and `remedy` a sentence, both without a final full stop.
    """

    def __init__(self, tool_name: str, reason: str, remedy: str) -> None:
        super().__init__(tool_name, reason, remedy)
        self.tool_name = tool_name
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"The tool {self.tool_name} is unavailable: {self.reason}. {self.remedy}."


def tool_changed_error(tool_name: str, was: str, now: str) -> ToolUnavailableError:
    """Return the error for a tool whose version changed during a run."""
    reason = f"it changed while it was in use, from version {was!r} to {now!r}"
    remedy = "Run the same command again: it recomputes the answers of the earlier version"
    return ToolUnavailableError(tool_name, reason, remedy)
