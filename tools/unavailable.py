"""The tool of the paper that this release cannot run: translation.

It has a name and a prompt, so that settings and listings can speak of it. Does not answer
calls, and does not stand in for the real tool with made-up answers.
"""

from typing import NoReturn

from tools.base import BaseTool
from tools.errors import ToolUnavailableError
from tools.protocol import Document


class UnavailableTool(BaseTool):
    """A tool that is known by name and says why it cannot run."""

    version = "0"
    reason: str
    remedy = "Leave it out of the selected tools"

    def call(self, arguments: str, document: Document) -> NoReturn:  # noqa: ARG002
        """Refuse the call.

        Raises:
            ToolUnavailableError: Always.
        """
        raise ToolUnavailableError(self.name, self.reason, self.remedy)

    def check_available(self) -> None:
        """Say that the tool cannot run.

        Raises:
            ToolUnavailableError: Always.
        """
        raise ToolUnavailableError(self.name, self.reason, self.remedy)


class MachineTranslation(UnavailableTool):
    """Translation of a phrase into English; arrives in a later release."""

    name = "MT"
    description = "Translates a phrase into English."
    reason = "machine translation arrives in a later release"
