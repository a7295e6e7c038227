"""A tool from outside in a process of its own: with a deadline, a memory limit, and no network.

    this process                         worker (tools.worker)
    IsolatedTool.call  -- JSON line -->  Tool.call
                       <-- JSON line --

Where Linux grants it, the worker lives in namespaces of its own: it has no network device, and all
processes that the tool starts end with it. Elsewhere Python code in the worker gets no sockets, and
nothing more is promised; `isolation_level` says which holds. Not isolated: files that this user may
read and write, and time on the processors.
"""

import contextlib
import dataclasses
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from tools.deadlines import MOST_DEADLINES_PER_BATCH
from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolDiedError,
    ToolError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
    TransientToolError,
)
from tools.protocol import Document, Preselection

_LOGGER = logging.getLogger(__name__)

_REPOSITORY = Path(__file__).resolve().parent.parent
_MEMORY_BYTES = 4 * 2**30
# Importing what a tool needs may take long; answering may not.
_START_SECONDS = 120.0
_MOST_DEATHS_IN_A_ROW = 3
_LONGEST_LINE = 64 * 2**20
_NAMESPACES = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child")


@cache
def has_namespaces() -> bool:
    """Whether this system lets us start processes in namespaces of their own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    done = subprocess.run(
        [unshare, *_NAMESPACES, "--net", "true"], capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def isolation_level() -> str:
    """What holds for tools from outside on this system, as a sentence without a full stop."""
    if has_namespaces():
        return "own process with memory and time limits, and Linux namespaces without network"
    return (
        "own process with memory and time limits; network is refused to Python code only, because "
        "this system grants no namespaces (unshare from util-linux, user namespaces enabled)"
    )


class IsolatedTool:
    """A tool whose code runs in a worker; see `tools.protocol.Tool` for its methods.

    The worker is started at first use, and anew after it was killed or died.

    Attributes:
        name: As written in calls.
        start_seconds: How much longer than its deadline a call may take because the worker is
            started anew.

    Args:
        name: As written in calls; the tool must give itself the same.
        target: `module:name` of a class, of a function that makes a tool, or of a tool.
        options: Keyword arguments for it.
        deadline_seconds: Longest time of one call.
        memory_bytes: Most memory that the worker may map.

    Raises:
        ToolUnavailableError: By any method, when the tool cannot be imported or made.
        ToolSettingsError: By any method, when it does not take its options or has another name.
        ToolDiedError: By any method, when the worker died three times in a row.
    """

    def __init__(
        self,
        name: str,
        target: str,
        options: Mapping[str, Any] | None = None,
        *,
        deadline_seconds: float = 10.0,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        self.name = name
        self.start_seconds = _START_SECONDS
        self.target = target
        self.options = dict(options or {})
        self.deadline_seconds = deadline_seconds
        self.memory_bytes = memory_bytes
        # The worker answers one request after the other.
        self.calls_at_once = 1
        self._worker: _Worker | None = None
        self._facts: dict[str, Any] | None = None
        self._deaths_in_a_row = 0
        self._lock = threading.RLock()

    @property
    def version(self) -> str:
        """Of the tool."""
        return self._described("version")

    @property
    def description(self) -> str:
        """One sentence for people."""
        return self._described("description")

    @property
    def takes_arguments(self) -> bool:
        """Whether anything can stand between the brackets of a call."""
        return self._described("takes_arguments")

    @property
    def has_batches(self) -> bool:
        """Whether it answers several calls at once by a method of its own."""
        return self._described("has_batches")

    @property
    def prompt(self) -> str | None:
        """Its few-shot prompt."""
        return self._described("prompt")

    def parse_arguments(self, text: str) -> str:
        """Return the normalised arguments; raise CallSyntaxError when they are no call."""
        return self._ask("parse_arguments", arguments=text)

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """Raise CallSyntaxError when a call could not be written at its place in a text."""
        self._ask("check_place", arguments=arguments, before=before, after=after)

    def call(self, arguments: str, document: Document) -> str:
        """Return the answer; raise ToolCallError when there is none."""
        return self._ask("call", arguments=arguments, document=_fields(document))

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls, in order, within their deadlines together (at most 20)."""
        replies = self._ask(
            "call_batch",
            requests=[(arguments, _fields(document)) for arguments, document in requests],
            deadline_seconds=self.deadline_seconds * min(len(requests), MOST_DEADLINES_PER_BATCH),
        )
        answers: list[Any] = [
            reply["answer"] if "answer" in reply else self._error(reply) for reply in replies
        ]
        return answers

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        """What an answer depends on besides name, version and arguments."""
        parts = self._ask("cache_key", document=_fields(document))
        return None if parts is None else tuple(str(part) for part in parts)

    def preselect(self, document: Document) -> Preselection:
        """Decide whether the text is worth annotating with this tool."""
        is_selected, reason = self._ask("preselect", document=_fields(document))
        return Preselection(bool(is_selected), str(reason))

    def check_available(self) -> None:
        """Raise ToolUnavailableError when the tool cannot run."""
        self._ask("check_available")

    def close(self) -> None:
        """End the worker and all that the tool started."""
        with self._lock:
            if self._worker is not None:
                self._worker.end()
            self._worker = None

    def _described(self, fact: str) -> Any:
        with self._lock:
            if self._facts is None:
                self._start()
            assert self._facts is not None
            return self._facts[fact]

    def _ask(self, method: str, *, deadline_seconds: float | None = None, **fields: Any) -> Any:
        seconds = deadline_seconds or self.deadline_seconds
        with self._lock:
            if self._worker is None:
                self._start()
            assert self._worker is not None
            request = {"method": method, "deadline_seconds": seconds, **fields}
            try:
                reply = self._worker.exchange(request, seconds)
            except ToolTimeoutError:
                self.close()
                raise
            except EOFError:
                raise self._died() from None
            self._deaths_in_a_row = 0
        if "answer" in reply:
            return reply["answer"]
        raise self._error(reply)

    def _start(self) -> None:
        """Start the worker; without network, unless the tool turns out to declare it."""
        for with_network in (False, True):
            self._worker = _Worker(with_network=with_network)
            reply = self._greet(self._worker, with_network=with_network)
            if "error" in reply:
                self.close()
                raise self._error(reply)
            self._facts = reply["answer"]
            if reply["answer"]["name"] != self.name:
                self.close()
                raise ToolSettingsError(
                    f"The tool of {self.target} calls itself {reply['answer']['name']!r}, the "
                    f"settings call it {self.name!r}. Give it the same name in both."
                )
            if with_network or not reply["answer"]["needs_network"]:
                return
            self.close()

    def _greet(self, worker: "_Worker", *, with_network: bool) -> dict[str, Any]:
        start = {
            "target": self.target,
            "options": self.options,
            "memory_bytes": self.memory_bytes,
            "refuses_sockets": not with_network and not has_namespaces(),
            # A relative entry means another folder there.
            "path": [str(Path(entry or ".").absolute()) for entry in sys.path],
        }
        try:
            return worker.exchange(start, _START_SECONDS)
        except (EOFError, ToolTimeoutError) as error:
            said = worker.last_words()
            self.close()
            raise ToolUnavailableError(
                self.name,
                f"its process ended while it was made{said}"
                if isinstance(error, EOFError)
                else f"making it took longer than {_START_SECONDS:g} s",
                "Try it with `python -c` first; what a module does when it is imported counts too",
            ) from error

    def _died(self) -> ToolError:
        """The worker is gone: an error of this call, at the third time in a row of the tool."""
        assert self._worker is not None
        said = self._worker.last_words()
        self.close()
        self._deaths_in_a_row += 1
        _LOGGER.warning("The process of %s ended in the middle of a call%s", self.name, said)
        if self._deaths_in_a_row >= _MOST_DEATHS_IN_A_ROW:
            return ToolDiedError(
                f"The process of {self.name} ended {self._deaths_in_a_row} times in a row{said}. "
                f"Expected an answer or an error. It may map {self.memory_bytes / 2**30:g} GiB."
            )
        return ToolCallError("process_ended", f"The process of {self.name} ended{said}.")

    def _error(self, reply: Mapping[str, Any]) -> ToolError:
        """The error that the worker tells of, as the tool raised it."""
        kind, message = str(reply.get("error")), str(reply.get("message"))
        reason = str(reply.get("reason", ""))
        if kind == "syntax":
            return CallSyntaxError(reason, message)
        if kind == "call":
            return ToolCallError(reason, message)
        if kind == "unavailable":
            return ToolUnavailableError(self.name, reason, message)
        if kind == "dependency":
            return ToolUnavailableError(
                self.name,
                f"it cannot be imported ({message})",
                "Install what it needs, and check the name in the settings",
            )
        errors = {
            "settings": ToolSettingsError,
            "timeout": ToolTimeoutError,
            "transient": TransientToolError,
        }
        return errors.get(kind, ToolError)(f"{self.name}: {message}")


class _Worker:
    """The running process: one JSON line goes in, one comes out."""

    def __init__(self, *, with_network: bool) -> None:
        self._process = subprocess.Popen(
            [*_command(with_network=with_network), sys.executable, "-m", "tools.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_REPOSITORY,
            env=_environment(),
            # A group of its own, so that all of it can be ended.
            start_new_session=True,
        )
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._last_lines: deque[bytes] = deque(maxlen=5)
        # The threads hold queues and not this object, which may go while they wait.
        for pipe, take in (
            (self._process.stdout, self._replies.put),
            (self._process.stderr, self._last_lines.append),
        ):
            assert pipe is not None
            threading.Thread(target=_drain, args=(pipe, take), daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._process)

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            EOFError: The process ended.
            ToolTimeoutError: It did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EOFError from error
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            raise ToolTimeoutError(f"The tool did not answer within {seconds:g} s.") from None
        try:
            return json.loads(line)
        except ValueError as error:
            # Empty at its end; anything else was written by somebody who found the pipe.
            self.end()
            raise EOFError from error

    def last_words(self) -> str:
        """What the process said on standard error, and how it ended, as an insertion."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = None
        how = f"signal {signal.Signals(-status).name}" if status and status < 0 else f"{status}"
        lines = [line.decode("utf-8", errors="replace").strip() for line in self._last_lines]
        said = next((f": {line[:500]}" for line in reversed(lines) if line), "")
        return f" (exit status {how}{said})"

    def end(self) -> None:
        """End the process and all that it started."""
        self._finalizer()


def _drain(pipe: IO[bytes], take: Any) -> None:
    """Hand on lines, cut where no reply is as long, and an empty one at the end."""
    with pipe:
        while line := pipe.readline(_LONGEST_LINE):
            take(line)
    take(b"")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        # `unshare` takes its child with it, and the child, first of its namespace, all the others.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _command(*, with_network: bool) -> list[str]:
    if not has_namespaces():
        return []
    return ["unshare", *_NAMESPACES, *(() if with_network else ("--net",))]


def _environment() -> dict[str, str]:
    """Ours, with this package to be found; the worker needs no accelerator and no hub."""
    path = os.pathsep.join(filter(None, (str(_REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _fields(document: Document) -> dict[str, Any]:
    date = document.published_on
    return {**dataclasses.asdict(document), "published_on": date and date.isoformat()}
