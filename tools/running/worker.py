"""Functions that `tools.running.isolation` runs in the process of a plugin.

Each returns JSON: `{"answer": …}`, or `{"error": class, "arguments": […], …}` with a class of
`tools.errors`, so that the tool's own classes stay in its process. The Model Context Protocol is
not used, since it lacks a tool's other methods and every worker would import its library.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from json import JSONEncoder
from typing import Any

from tools.base import DESCRIBED_ATTRIBUTES, Tool
from tools.errors import (
    CallSyntaxError,
    ToolBugError,
    ToolCallError,
    ToolError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
    TransientToolError,
    reason_code,
)
from tools.plugins.plugins import error_location, parse_arguments, plugin_code
from tools.protocol import LONGEST_MESSAGE, Document
from tools.registry import create_tool
from tools.syntax import checked_answer

# A tool may replace functions of the module `json`.
_write_json = JSONEncoder().encode
_tools: list[Tool] = []
# The last document sent, if any.
_document: list[Document] = []
_PROCESS = os.getpid()


def make(name: str, target: str, options: Mapping[str, Any]) -> bytes:
    """Create the tool of this process and return its attributes by name, as JSON."""

    def create_and_describe() -> dict[str, Any]:
        with plugin_code(name, f"making {target}"):
            tool = create_tool(name, options, targets={name: target})
            description = {
                attribute: getattr(tool, attribute) for attribute in DESCRIBED_ATTRIBUTES
            }
            prompt = description["prompt"]
            if prompt is not None and not isinstance(prompt, str):
                # The prompt is a file of the tool's package, which the parent may lack.
                description["prompt"] = prompt.read_text("utf-8")
        _tools.append(tool)
        return description

    return _reply(create_and_describe, name)


def ask(name: str, method: str, values: Sequence[Any], keyword_values: Mapping[str, Any]) -> bytes:
    """Call a method of the tool; a last value None means the last document that was sent."""
    (tool,) = _tools
    if values and values[-1] is None:
        values = (*values[:-1], *_document)
    elif values and isinstance(values[-1], Document):
        _document[:] = values[-1:]
    action = _METHODS.get(method)
    if action is None:
        return _reply(lambda: getattr(tool, method)(*values, **keyword_values), name)
    return _reply(lambda: action(tool, *values), name)


def _reply(action: Callable[[], Any], name: str) -> bytes:
    try:
        # An answer that cannot be written as JSON is an error of the tool. The JSON is ASCII, so
        # that an unpaired surrogate does not end the process.
        return _write_json({"answer": action()}).encode()
    except BaseException as error:  # noqa: BLE001
        return _write_json(_error(error, name)).encode()
    finally:
        if os.getpid() != _PROCESS:
            # A child that the tool forked must not return like its parent.
            os._exit(0)


def _batch(tool: Tool, requests: Sequence[tuple[str, Document]]) -> list[Any]:
    answers: Any = tool.call_batch(requests)
    if not isinstance(answers, list):
        raise TypeError(
            f"call_batch returned {type(answers).__name__}. Expected a list of answers."
        )
    return [
        _error(answer, tool.name)
        if isinstance(answer, BaseException)
        else {"answer": checked_answer(answer)}
        for answer in answers
    ]


def _preselect(tool: Tool, document: Document) -> tuple[bool, str]:
    selection = tool.preselect(document)
    return bool(selection.is_selected), reason_code(selection.reason)


def _proposals(tool: Tool, document: Document) -> list[Any]:
    # One more than allowed, so that `tools.base.proposals_of` reports too many.
    proposals = islice(tool.proposals(document), len(document.text) + 1)
    return [(proposal.offset, proposal.arguments) for proposal in proposals]


_METHODS: Mapping[str, Callable[..., Any]] = {
    "parse_arguments": parse_arguments,
    "call": lambda tool, *request: checked_answer(tool.call(*request)),
    "call_batch": _batch,
    "preselect": _preselect,
    "proposals": _proposals,
}


def _error(error: BaseException, name: str) -> dict[str, Any]:
    """Describe an exception as the error of `tools.errors` that the parent raises."""
    location = error_location(error)
    text = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE] + location
    kind: type[ToolError]
    kind, arguments = ToolBugError, [location, f"{name}: {text}"]
    if isinstance(error, CallSyntaxError):
        kind, arguments = CallSyntaxError, [reason_code(error.reason), str(error)[:LONGEST_MESSAGE]]
    elif isinstance(error, ToolCallError):
        kind, arguments = ToolCallError, [str(error.reason), str(error)[:LONGEST_MESSAGE]]
    elif isinstance(error, ToolUnavailableError):
        kind, arguments = ToolUnavailableError, [name, str(error.reason), str(error.remedy)]
    elif isinstance(error, ImportError):
        kind = ToolUnavailableError
        remedy = "Install what it needs, and check the name in the settings"
        arguments = [name, f"it cannot be imported ({text})", remedy]
    elif isinstance(error, ToolSettingsError):
        message = str(error)[:LONGEST_MESSAGE] + location
        kind, arguments = (
            ToolSettingsError,
            [message if message.startswith(name) else f"{name}: {message}"],
        )
    elif isinstance(error, TimeoutError):
        kind, arguments = ToolTimeoutError, [f"{name}: {text}"]
    elif isinstance(error, ConnectionError):
        # The message is stored, and a library's message may contain a key, such as in an address.
        message = str(error) if isinstance(error, ToolError) else type(error).__name__ + location
        kind, arguments = TransientToolError, [f"{name}: {message}"[:LONGEST_MESSAGE]]
    is_permanent = getattr(error, "is_permanent", True)
    return {"error": kind.__name__, "arguments": arguments, "is_permanent": bool(is_permanent)}
