"""The process in which a tool from outside runs: `python -m tools.running.worker NUMBER`.

    parent -> worker    JSON    first what tool to make, then {"method": …, …}
    parent <- worker    JSON    {"answer": …} or {"error": class, "arguments": […], …}

The number is that of the connection's file descriptor. Nothing is pickled, either way. The tool's
standard input is empty, and what it forks or starts has no connection. Limits memory, and ends when
a call takes far longer than it may, whatever code it hangs in: the parent may have been killed.
Network and process namespaces are the parent's business (`tools.running.isolation`).

Not the Model Context Protocol: it has calls and none of a tool's other methods, and every worker
would import its library.
"""

import dataclasses
import datetime
import faulthandler
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from json import JSONDecoder, JSONEncoder
from multiprocessing.connection import Connection
from typing import Any

from tools.base import DESCRIBED, Tool
from tools.errors import (
    CallSyntaxError,
    ToolBugError,
    ToolCallError,
    ToolError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
    TransientToolError,
    reason_word,
)
from tools.plugins.plugins import error_location, parse_arguments, plugin_code
from tools.protocol import LONGEST_MESSAGE, Document
from tools.registry import create_tool
from tools.syntax import checked_answer

# Seconds beyond the deadline after which the process ends itself.
_GRACE_SECONDS = 5.0
# A tool may replace what the module `json` has.
_write_json, _read_json = JSONEncoder().encode, JSONDecoder().decode


def main() -> None:
    """Serve the parent until it closes the connection."""
    connection = Connection(int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    os.register_at_fork(after_in_child=connection.close)
    own_process = os.getpid()
    start = _receive(connection)
    name, target = start["name"], start["target"]
    _limit_memory(start["memory_bytes"])
    if start["refuses_sockets"]:
        _refuse_sockets()
    sys.path[:0] = [path for path in start["path"] if path not in sys.path]
    try:
        with plugin_code(name, f"making {target}"):
            tool = create_tool(name, start["options"], targets={name: target})
            reply = _bytes({"answer": _description(tool)})
    except ToolError as error:
        connection.send_bytes(_bytes(_error(error, name)))
        return
    while True:
        connection.send_bytes(reply)
        try:
            request = _receive(connection)
        except EOFError:
            return
        # Not an alarm of the kernel: the first process of a namespace gets none. To the descriptor:
        # a tool may have put something else in the place of `sys.stderr`.
        faulthandler.dump_traceback_later(
            request["deadline_seconds"] + _GRACE_SECONDS, exit=True, file=2
        )
        try:
            # What cannot be written as JSON is an error of the tool.
            reply = _bytes({"answer": _serve(tool, request, name)})
        except Exception as error:  # noqa: BLE001
            reply = _bytes(_error(error, name))
        if os.getpid() != own_process:
            # A child that the tool forked and that came back like its parent.
            os._exit(0)
        faulthandler.cancel_dump_traceback_later()


def _receive(connection: Connection) -> dict[str, Any]:
    return _read_json(connection.recv_bytes().decode())


def _bytes(reply: Mapping[str, Any]) -> bytes:
    # ASCII: half a surrogate pair in an answer must not end the process.
    return _write_json(reply).encode()


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse_sockets() -> None:
    """Where the system isolates no network: Python code at least gets no sockets."""
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(
            "This tool has no network. A tool that needs it declares `needs_network = True`."
        )

    for name in ("connect", "connect_ex", "bind", "sendto", "sendmsg"):
        setattr(socket.socket, name, refuse)


def _description(tool: Tool) -> dict[str, Any]:
    description = {attribute: getattr(tool, attribute) for attribute in DESCRIBED}
    prompt = description["prompt"]
    if prompt is not None and not isinstance(prompt, str):
        # A file of the tool's own package, which the parent need not have.
        description["prompt"] = prompt.read_text("utf-8")
    return description


def _serve(tool: Tool, request: Mapping[str, Any], name: str) -> Any:
    """Call one method of the tool; what comes and goes is plain JSON."""
    arguments, document = request.get("arguments", ""), _document(request.get("document"))
    methods: dict[str, Callable[[], Any]] = {
        "parse_arguments": lambda: parse_arguments(tool, arguments),
        "named_arguments": lambda: tool.named_arguments(arguments),
        "check_place": lambda: tool.check_place(
            arguments, before=request["before"], after=request["after"]
        ),
        "prepare": tool.prepare,
        "call": lambda: checked_answer(tool.call(arguments, document)),
        "call_batch": lambda: _batch(tool, request["requests"], name),
        "cache_key": lambda: tool.cache_key(document),
        "preselect": lambda: dataclasses.astuple(tool.preselect(document)),
        # One more than can be right: `tools.proposing.checked` says so.
        "proposals": lambda: [
            [proposal.offset, proposal.arguments]
            for proposal in islice(tool.proposals(document), len(document.text) + 1)
        ],
        "check_available": tool.check_available,
    }
    return methods[request["method"]]()


def _batch(tool: Tool, requests: Sequence[Any], name: str) -> list[Any]:
    answers: Any = tool.call_batch([(text, _document(document)) for text, document in requests])
    if not isinstance(answers, list):
        raise TypeError(f"call_batch gave {type(answers).__name__}. Expected a list of answers.")
    return [
        _error(answer, name)
        if isinstance(answer, BaseException)
        else {"answer": checked_answer(answer)}
        for answer in answers
    ]


def _document(fields: Mapping[str, Any] | None) -> Document:
    if fields is None:
        return Document("", "")
    date = fields["published_on"]
    return Document(**{**fields, "published_on": date and datetime.date.fromisoformat(date)})


def _error(error: BaseException, name: str) -> dict[str, Any]:
    """What a tool raised, as the error of `tools.errors` that the parent raises."""
    location = error_location(error)
    text = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE] + location
    kind: type[ToolError]
    kind, arguments = ToolBugError, [location, f"{name}: {text}"]
    if isinstance(error, CallSyntaxError):
        kind, arguments = CallSyntaxError, [reason_word(error.reason), str(error)[:LONGEST_MESSAGE]]
    elif isinstance(error, ToolCallError):
        kind, arguments = ToolCallError, [str(error.reason), str(error)[:LONGEST_MESSAGE]]
    elif isinstance(error, ToolUnavailableError):
        kind, arguments = ToolUnavailableError, [name, str(error.reason), str(error.remedy)]
    elif isinstance(error, ImportError):
        kind = ToolUnavailableError
        remedy = "Install what it needs, and check the name in the settings"
        arguments = [name, f"it cannot be imported ({text})", remedy]
    elif isinstance(error, ToolSettingsError):
        said = str(error)[:LONGEST_MESSAGE] + location
        kind, arguments = ToolSettingsError, [said if said.startswith(name) else f"{name}: {said}"]
    elif isinstance(error, TimeoutError):
        kind, arguments = ToolTimeoutError, [f"{name}: {text}"]
    elif isinstance(error, ConnectionError):
        # It is stored. What a library says may hold a key, such as that of an address.
        said = str(error) if isinstance(error, ToolError) else type(error).__name__ + location
        kind, arguments = TransientToolError, [f"{name}: {said}"[:LONGEST_MESSAGE]]
    is_lasting = getattr(error, "is_lasting", True)
    return {"error": kind.__name__, "arguments": arguments, "is_lasting": bool(is_lasting)}


if __name__ == "__main__":
    main()
