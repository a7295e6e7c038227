"""Runs a plugin in its own process, with a deadline, a memory limit and by default no network.

    this process                worker process
    IsolatedTool.call     ->    tools.running.worker.ask    ->    Tool.call

The process is a pool of one worker (`tools.running.worker_pool`), confined by
`tools.running.confinement`. After a timeout or the end of the process, the next call starts a new
one. The tool can still use the user's files and any amount of CPU time.
"""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tools import errors
from tools.base import DESCRIBED_ATTRIBUTES, Tool
from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
    tool_changed_error,
)
from tools.protocol import Document, Preselection, Proposal
from tools.running import worker
from tools.running.confinement import has_namespaces
from tools.running.deadlines import MAX_DEADLINES_PER_BATCH
from tools.running.worker_pool import WorkerEndedError, WorkerPool

_LOGGER = logging.getLogger(__name__)

# Imports of a tool may take longer than an answer.
_START_SECONDS = 120.0


class IsolatedTool(Tool):
    """A tool whose code runs in its own process; see `tools.base.Tool` for the methods.

    The process starts at first use, and again after it has ended. Every method may therefore raise
    ToolUnavailableError or ToolSettingsError.

    Args:
        target: `module:name` of a class, which is called with the options, or of a tool.
        memory_bytes: Maximum memory that the process and each of its children may map.
        environment: Names of variables that the tool inherits in addition to the usual ones.
        with_network: Whether creating the tool needs the network. If not, the created tool's
            `needs_network` decides.
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
        self._registered_name = name
        self._target_and_options = target, dict(options)
        self._deadline_seconds = deadline_seconds
        self._memory_bytes = memory_bytes
        self._environment = tuple(environment)
        self._with_network = with_network
        # A tool with this option waits for another program to start.
        extra_seconds = options.get("start_seconds")
        self.start_seconds = _START_SECONDS + (
            extra_seconds if isinstance(extra_seconds, int | float) else 0
        )
        self._pool: WorkerPool | None = None
        # The last document sent, which the process keeps.
        self._sent: Document | None = None
        self._description: dict[str, Any] = {}
        self._is_prepared = False
        self._lock = threading.RLock()

    def parse_arguments(self, text: str) -> str:
        return self._read("parse_arguments", text)

    def named_arguments(self, arguments: str) -> Mapping[str, Any]:
        return self._read("named_arguments", arguments)

    def check_position(self, arguments: str, *, before: str, after: str) -> None:
        self._read("check_position", arguments, before=before, after=after)

    def prepare(self) -> None:
        """Prepare the tool now, and again in every process that is started later."""
        self._ask("prepare", deadline_seconds=self.start_seconds)
        self._is_prepared = True

    def call(self, arguments: str, document: Document) -> str:
        return self._ask("call", arguments, document)

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer calls in order, within the sum of their deadlines (at most 20)."""
        deadlines = min(len(requests), MAX_DEADLINES_PER_BATCH)
        seconds = self._deadline_seconds * deadlines
        replies = self._ask("call_batch", list(requests), deadline_seconds=seconds)
        return [_error(reply) if "error" in reply else reply["answer"] for reply in replies]

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        parts = self._ask("cache_key", document)
        return None if parts is None else tuple(str(part) for part in parts)

    def preselect(self, document: Document) -> Preselection:
        try:
            return Preselection(*self._ask("preselect", document))
        except (ToolCallError, ToolTimeoutError):
            return Preselection(is_selected=False, reason="tool_error")

    def proposals(self, document: Document) -> list[Proposal]:
        return [Proposal(*proposal) for proposal in self._ask("proposals", document)]

    def check_available(self) -> None:
        self._ask("check_available")

    def close(self) -> None:
        with self._lock:
            if self._pool:
                self._pool.end()
            self._pool = self._sent = None

    def described(self, attribute: str) -> Any:
        with self._lock:
            if not self._description:
                self._start()
            return self._description[attribute]

    def _read(self, method: str, *values: Any, **named: Any) -> Any:
        """Parse a text in the process; a text that makes the process hang or end is not a call."""
        try:
            return self._ask(method, *values, **named)
        except (ToolCallError, ToolTimeoutError) as error:
            raise CallSyntaxError("parse_error", str(error)) from error

    def _ask(
        self, method: str, *values: Any, deadline_seconds: float | None = None, **named: Any
    ) -> Any:
        document = values[-1] if values and isinstance(values[-1], Document) else None
        with self._lock:
            try:
                if self._pool is not None and not self._pool.is_active:
                    # The process ended between two calls.
                    self.close()
                pool = self._pool or self._start()
                if document is not None and document == self._sent:
                    values = (*values[:-1], None)
                request = self._registered_name, method, values, named
                seconds = deadline_seconds or self._deadline_seconds
                reply = pool.ask(worker.ask, *request, seconds=seconds)
                self._sent = document or self._sent
            except ToolTimeoutError:
                self.close()
                raise
            except WorkerEndedError as error:
                self.close()
                message = (
                    f"The process of {self._registered_name} ended in the middle of a call{error}: "
                    f"{self._memory()}."
                )
                _LOGGER.warning("%s", message)
                raise ToolCallError("process_ended", message, is_permanent=False) from None
        return _answer(reply)

    def _start(self) -> WorkerPool:
        """Start the process without network; start it again with network if the tool needs it."""
        before = self._description
        pool, now = self._start_process()
        if now["needs_network"] and not self._with_network:
            self.close()
            self._with_network = True
            pool, now = self._start_process()
        self._description = now
        if before and before["version"] != now["version"]:
            self.close()
            raise tool_changed_error(self._registered_name, before["version"], now["version"])
        if self._is_prepared:
            self._ask("prepare", deadline_seconds=self.start_seconds)
        return pool

    def _start_process(self) -> tuple[WorkerPool, dict[str, Any]]:
        closed = "none" if has_namespaces() else "refused"
        network = "open" if self._with_network else closed
        pool = WorkerPool(self._memory_bytes, self._environment, network)
        made = self._registered_name, *self._target_and_options
        try:
            description = _answer(pool.ask(worker.make, *made, seconds=self.start_seconds))
            self._pool = pool
        except (ToolTimeoutError, WorkerEndedError) as error:
            raise ToolUnavailableError(
                self._registered_name,
                f"its process ended while it was made{error}; {self._memory()}"
                if isinstance(error, WorkerEndedError)
                else f"making it took too long ({str(error).rstrip('.')})",
                "Try it with `python -c` first; the time for importing its module counts too",
            ) from error
        finally:
            if self._pool is not pool:
                pool.end()
        return pool, description

    def _memory(self) -> str:
        return (
            f"it may map {self._memory_bytes / 2**30:g} GiB of memory, and so may each process "
            "that it starts (execution.worker_memory_gib)"
        )


for _attribute in DESCRIBED_ATTRIBUTES:
    _get = partial(IsolatedTool.described, attribute=_attribute)
    setattr(IsolatedTool, _attribute, property(_get))


def _answer(reply: bytes) -> Any:
    content = json.loads(reply)
    if "error" in content:
        raise _error(content)
    return content["answer"]


def _error(reply: Mapping[str, Any]) -> Any:
    error: ToolError = getattr(errors, reply["error"])(*reply["arguments"])
    if isinstance(error, ToolCallError):
        error.is_permanent = reply["is_permanent"]
    return error
