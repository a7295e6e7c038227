"""The process in which a tool from outside runs: `python -m tools.running.worker`.

    parent -> stdin     one JSON object a line: {"id": …, "method": …, …}
    parent <- stdout    one JSON object a line: {"id": …, "answer": …} or {…, "error": kind, …}

The id of a reply is that of its request. Nothing is pickled, either way. The tool sees neither
pipe: its own standard input is empty, and what it prints goes to standard error. What it forks or
starts has no pipe at all. Limits memory, and lets the kernel end the process when a call takes far
longer than it may, whatever code it hangs in. Network and process namespaces are the parent's
business (`tools.running.isolation`).
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TextIO

from tools.base import BaseTool
from tools.errors import (
    CallSyntaxError,
    MissingDependencyError,
    ToolCallError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.protocol import LONGEST_ANSWER, LONGEST_MESSAGE, Document, Tool
from tools.registry import create_tool
from tools.yours.plugins import parse_arguments, place_of

# Seconds beyond the deadline after which the kernel ends the process.
_ALARM_GRACE = 5.0


def main() -> None:
    """Serve the parent until it closes the pipe."""
    requests, answers = _private_pipes()
    own_process = os.getpid()
    start = json.loads(requests.readline())
    _limit_memory(start["memory_bytes"])
    if start["refuses_sockets"]:
        _refuse_sockets()
    sys.path[:0] = [path for path in start["path"] if path not in sys.path]
    try:
        name = start["name"]
        tool = create_tool(name, start["options"], targets={name: start["target"]})
        served = _line(start, {"answer": _description(tool)})
    except Exception as error:  # noqa: BLE001
        # Importing a stranger's module may raise anything.
        _write(answers, _line(start, _error(error)))
        return
    _write(answers, served)
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["deadline_seconds"] + _ALARM_GRACE)
        try:
            # What cannot be written as JSON is an error of the tool.
            reply = _line(request, {"answer": _serve(tool, request)})
        except Exception as error:  # noqa: BLE001
            reply = _line(request, _error(error))
        if os.getpid() != own_process:
            # A child that the tool forked and that came back like its parent.
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, reply)


def _private_pipes() -> tuple[TextIO, TextIO]:
    """Keep the pipes for this module; what the tool reads and prints goes elsewhere."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    os.register_at_fork(after_in_child=lambda: _forget(requests.fileno(), answers.fileno()))
    return requests, answers


def _forget(*pipes: int) -> None:
    """Put nothing in the place of pipes, so that a forked child neither reads nor writes them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for pipe in pipes:
        os.dup2(nothing, pipe, inheritable=False)
    os.close(nothing)


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
    return {
        "name": tool.name,
        "version": tool.version,
        "sampling_version": getattr(tool, "sampling_version", tool.version),
        "proposals_version": getattr(tool, "proposals_version", tool.version),
        "makes_proposals": tool.makes_proposals,
        "description": tool.description,
        "takes_arguments": tool.takes_arguments,
        "has_batches": getattr(type(tool), "call_batch", None) is not BaseTool.call_batch,
        "needs_network": bool(tool.needs_network),
        "prompt": tool.prompt
        if tool.prompt is None or isinstance(tool.prompt, str)
        # A file of the tool's own package, which the parent need not have.
        else tool.prompt.read_text("utf-8"),
    }


def _serve(tool: Tool, request: Mapping[str, Any]) -> Any:
    """Call one method of the tool; what comes and goes is plain JSON."""
    arguments, document = request.get("arguments", ""), _document(request.get("document"))
    methods: dict[str, Callable[[], Any]] = {
        "parse_arguments": lambda: parse_arguments(tool, arguments),
        "check_place": lambda: tool.check_place(
            arguments, before=request["before"], after=request["after"]
        ),
        "prepare": tool.prepare,
        "call": lambda: _text(tool.call(arguments, document)),
        "call_batch": lambda: _batch(tool, request["requests"]),
        "cache_key": lambda: tool.cache_key(document),
        "preselect": lambda: _preselection(tool, document),
        # One more than can be right: `tools.proposing.checked` says so.
        "proposals": lambda: [
            [each.offset, each.arguments]
            for each in islice(tool.proposals(document), len(document.text) + 1)
        ],
        "check_available": tool.check_available,
    }
    return methods[request["method"]]()


def _preselection(tool: Tool, document: Document) -> list[Any]:
    decision = tool.preselect(document)
    return [decision.is_selected, decision.reason]


def _batch(tool: Tool, requests: Sequence[Any]) -> list[Any]:
    answers: Any = tool.call_batch([(text, _document(document)) for text, document in requests])
    if not isinstance(answers, list):
        raise TypeError(f"call_batch gave {type(answers).__name__}. Expected a list of answers.")
    return [
        _error(answer) if isinstance(answer, BaseException) else {"answer": _text(answer)}
        for answer in answers
    ]


def _text(answer: object) -> str:
    if not isinstance(answer, str):
        raise TypeError(f"The tool answered with {type(answer).__name__}. Expected text (str).")
    return answer[:LONGEST_ANSWER]


def _document(fields: Mapping[str, Any] | None) -> Document:
    import datetime

    if fields is None:
        return Document("", "")
    date = fields["published_on"]
    return Document(**{**fields, "published_on": date and datetime.date.fromisoformat(date)})


def _error(error: BaseException) -> dict[str, Any]:
    """An error as JSON: its kind, as `isolation` raises it again, and what it says."""
    if isinstance(error, CallSyntaxError | ToolCallError):
        kind = "syntax" if isinstance(error, CallSyntaxError) else "call"
        return {"error": kind, "reason": str(error.reason), "message": str(error)[:LONGEST_MESSAGE]}
    if isinstance(error, ToolUnavailableError):
        return {"error": "unavailable", "reason": error.reason, "message": error.remedy}
    kind, place = "other", place_of(error)
    if isinstance(error, MissingDependencyError | ImportError):
        kind = "dependency"
    elif isinstance(error, ToolSettingsError):
        kind = "settings"
    elif isinstance(error, ToolTimeoutError | TimeoutError):
        kind = "timeout"
    elif isinstance(error, ConnectionError):
        kind = "transient"
    told = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
    return {"error": kind, "place": place, "message": f"{told} ({place})" if place else told}


def _line(request: Mapping[str, Any], reply: Mapping[str, Any]) -> str:
    # ASCII: half a surrogate pair in an answer must not end the process.
    return json.dumps({"id": request["id"], **reply}) + "\n"


def _write(answers: TextIO, line: str) -> None:
    answers.write(line)
    answers.flush()


if __name__ == "__main__":
    main()
