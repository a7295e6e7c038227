"""A tool from outside in a process of its own: with a deadline, a memory limit, and no network.

    this process                    worker (tools.running.worker)
    IsolatedTool.call  -- JSON -->  Tool.call
                       <-- JSON --

Where Linux grants it, the worker lives in namespaces of its own: it has no network device, and all
processes that the tool starts end with it. Elsewhere Python code in the worker gets no sockets, and
nothing more is promised; `worker_process.isolation_level` says which holds. Not isolated:
files that this user may read and write, and time on the processors.
"""

import dataclasses
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools import errors
from tools.base import DESCRIBED, Tool
from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
    changed_tool,
    reason_word,
)
from tools.protocol import Document, Preselection, Proposal
from tools.running.deadlines import MAX_DEADLINES_PER_BATCH
from tools.running.worker_process import WorkerProcess, has_namespaces

_LOGGER = logging.getLogger(__name__)

# Importing what a tool needs may take long; answering may not.
_START_SECONDS = 120.0


class IsolatedTool(Tool):
    """A tool whose code runs in a worker; see `tools.base.Tool` for its members.

    The worker is started at first use, and anew after it was killed or died.

    Args:
        target: `module:name` of a class, which is made with the options, or of a tool.
        memory_bytes: Most memory that the worker may map, and each process that it starts.
        environment: Names of variables that the tool gets of our environment, an API key say,
            beside the usual few such as PATH and HOME.
        with_network: Whether the network is needed to make it; else the tool says what it needs.

    Raises:
        ToolUnavailableError: By any method, when the tool cannot be imported or made.
        ToolSettingsError: By any method, when it does not take its options.
    """

    def __init__(
        self,
        name: str,
        target: str,
        options: Mapping[str, Any],
        *,
        deadline_seconds: float,
        memory_bytes: int,
        environment: Sequence[str],
        with_network: bool,
    ) -> None:
        self._with_network = with_network
        self._registered_name = name
        self.target = target
        self.options = dict(options)
        self.deadline_seconds = deadline_seconds
        self.memory_bytes = memory_bytes
        self.environment = tuple(environment)
        self._worker: WorkerProcess | None = None
        self._description: dict[str, Any] | None = None
        self._is_prepared = False
        # A tool with an option of this name waits for something else that starts.
        longer = options.get("start_seconds")
        self.start_seconds = _START_SECONDS + (longer if isinstance(longer, int | float) else 0)
        self._lock = threading.RLock()

    def parse_arguments(self, text: str) -> str:
        """Return the normalised arguments; raise CallSyntaxError when they are no call."""
        return self._read("parse_arguments", arguments=text)

    def named_arguments(self, arguments: str) -> Mapping[str, Any]:
        """Return the values of a call by parameter; raise CallSyntaxError when they are no call."""
        return self._read("named_arguments", arguments=arguments)

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """Raise CallSyntaxError when a call could not be written at its place in a text."""
        self._read("check_place", arguments=arguments, before=before, after=after)

    def prepare(self) -> None:
        """Let the tool load what its calls need; every worker that is started anew does so too."""
        self._ask("prepare", deadline_seconds=self.start_seconds)
        self._is_prepared = True

    def call(self, arguments: str, document: Document) -> str:
        """Return the answer; raise ToolCallError when there is none."""
        return self._ask("call", arguments=arguments, document=_fields(document))

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls, in order, within their deadlines together (at most 20)."""
        replies = self._ask(
            "call_batch",
            requests=[(arguments, _fields(document)) for arguments, document in requests],
            deadline_seconds=self.deadline_seconds * min(len(requests), MAX_DEADLINES_PER_BATCH),
        )
        answers: list[Any] = [
            _error(reply) if "error" in reply else reply["answer"] for reply in replies
        ]
        return answers

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        """What an answer depends on besides name, version and arguments."""
        parts = self._ask("cache_key", document=_fields(document))
        return None if parts is None else tuple(str(part) for part in parts)

    def preselect(self, document: Document) -> Preselection:
        """Decide whether the text is worth annotating with this tool."""
        try:
            is_selected, reason = self._ask("preselect", document=_fields(document))
        except (ToolCallError, ToolTimeoutError):
            return Preselection(is_selected=False, reason="tool_error")
        return Preselection(bool(is_selected), reason_word(reason))

    def proposals(self, document: Document) -> list[Proposal]:
        """Return the places where calls may help, as the tool gives them."""
        places = self._ask("proposals", document=_fields(document))
        return [Proposal(offset, arguments) for offset, arguments in places]

    def check_available(self) -> None:
        """Raise ToolUnavailableError when the tool cannot run."""
        self._ask("check_available")

    def close(self) -> None:
        """End the worker and all that the tool started."""
        with self._lock:
            if self._worker is not None:
                self._worker.end()
            self._worker = None

    def described(self, attribute: str) -> Any:
        """The value of an attribute; the worker is started at first use."""
        with self._lock:
            if self._description is None:
                self._start()
            assert self._description is not None
            return self._description[attribute]

    def _read(self, method: str, **texts: Any) -> Any:
        """Have texts read; one that makes the tool hang or its process end is no call."""
        try:
            return self._ask(method, **texts)
        except (ToolCallError, ToolTimeoutError) as error:
            raise CallSyntaxError("parse_error", str(error)) from error

    def _ask(self, method: str, *, deadline_seconds: float | None = None, **fields: Any) -> Any:
        seconds = deadline_seconds or self.deadline_seconds
        with self._lock:
            if self._worker is None or self._worker.has_unread:
                self.close()
                self._start()
            assert self._worker is not None
            request = {"method": method, "deadline_seconds": seconds, **fields}
            try:
                reply = self._worker.exchange(request, seconds)
            except ToolTimeoutError:
                self.close()
                raise
            except EOFError as error:
                raise self._died(str(error)) from None
        return _answer(reply)

    def _start(self) -> None:
        """Start the worker; without network, unless the tool turns out to declare it."""
        before = self._description
        for with_network in (False, True)[self._with_network :]:
            self._worker = WorkerProcess(with_network=with_network, environment=self.environment)
            try:
                self._description = self._make_tool(self._worker, with_network=with_network)
            except ToolError:
                self.close()
                raise
            if with_network or not self._description["needs_network"]:
                break
            self.close()
        now = self._description
        if before and now and before["version"] != now["version"]:
            self.close()
            raise changed_tool(self._registered_name, before["version"], now["version"])
        if self._is_prepared:
            self._ask("prepare", deadline_seconds=self.start_seconds)

    def _make_tool(self, worker: WorkerProcess, *, with_network: bool) -> dict[str, Any]:
        """Have the worker make the tool; give its attributes by name."""
        start = {
            "name": self._registered_name,
            "target": self.target,
            "options": self.options,
            "memory_bytes": self.memory_bytes,
            "refuses_sockets": not with_network and not has_namespaces(),
            # A relative entry means another folder there.
            "path": [str(Path(entry or ".").absolute()) for entry in sys.path],
        }
        try:
            reply = worker.exchange(start, self.start_seconds)
        except (EOFError, ToolTimeoutError) as error:
            raise ToolUnavailableError(
                self._registered_name,
                f"its process ended while it was made{worker.last_words()}; {self._memory()}"
                if isinstance(error, EOFError)
                else f"making it took longer than {self.start_seconds:g} s",
                "Try it with `python -c` first; what a module does when it is imported counts too",
            ) from error
        return _answer(reply)

    def _died(self, cause: str) -> ToolCallError:
        """The worker is gone; the next call starts another."""
        assert self._worker is not None
        cause = cause or self._worker.last_words()
        self.close()
        message = (
            f"The process of {self._registered_name} ended in the middle of a call{cause}: "
            f"{self._memory()}."
        )
        _LOGGER.warning("%s", message)
        return ToolCallError("process_ended", message, is_lasting=False)

    def _memory(self) -> str:
        return (
            f"it may map {self.memory_bytes / 2**30:g} GiB of memory, and so may each process that "
            "it starts (execution.worker_memory_gib)"
        )


def _described(attribute: str) -> Any:
    """A property with a value that the worker gives when it is started."""
    return property(lambda tool: tool.described(attribute))


for _attribute in DESCRIBED:
    setattr(IsolatedTool, _attribute, _described(_attribute))


def _answer(reply: Mapping[str, Any]) -> Any:
    """The answer of a reply; raises the error that it holds instead."""
    if "error" in reply:
        raise _error(reply)
    return reply["answer"]


def _error(reply: Mapping[str, Any]) -> ToolError:
    error: ToolError = getattr(errors, reply["error"])(*reply["arguments"])
    if isinstance(error, ToolCallError):
        error.is_lasting = reply["is_lasting"]
    return error


def _fields(document: Document) -> dict[str, Any]:
    date = document.published_on
    return {**dataclasses.asdict(document), "published_on": date and date.isoformat()}
