"""Connects to an MCP server: a program over its standard streams, or an address over HTTP.

The SDK's client is asynchronous and runs in its own thread while the connection is open. Needs the
extra `mcp`.
"""

import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any, TextIO, TypeVar, cast

import anyio
import httpx2 as httpx
from anyio.abc import TaskStatus
from anyio.from_thread import start_blocking_portal
from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from pydantic import ValidationError

from toolformer.base import untrusted_text
from toolformer.base.loopback import bypass_proxies
from toolformer.base.names import did_you_mean
from tools.errors import ToolCallError, ToolSettingsError, TransientToolError, UnknownToolError
from tools.plugins.parameters import parameters_of_schema

_Answer = TypeVar("_Answer")

_LOGGER = logging.getLogger(__name__)
_REFUSED = "refused_by_server"
_SCHEMA = "schema as the server wrote it"
_MAX_LOG_CHARACTERS = 300
_MAX_LOG_BYTES = 2**20
# Ends the server with this process, even if the server is busy and ignores that its input closes.
_KILLED_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
_noisy_servers: set[str] = set()
# The SDK logs server output, secrets included, and stack traces. This module raises errors instead.
for _library in ("client", "httpx2", "mcp"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


@dataclass(eq=False, repr=False)
class McpConnection:
    """A connection to a running MCP server; TransientToolError if the server is not ready in time.

    Args:
        target: Program and arguments, started without a shell; or the address of a server.
        environment: Variables of the program, in addition to the few that the SDK passes on.
        folder: Working directory of the program.
        key: Bearer token for a server at an address; "" for none.
        secrets: Texts to mask in all reports about the server.
        start_seconds: Time limit for the start of the server and for listing its tools.
    """

    target: Sequence[str] | str
    environment: Mapping[str, str]
    folder: str
    key: str
    secrets: Sequence[str]
    start_seconds: float
    server: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"the server {'at ' if isinstance(self.target, str) else ''}{self.target}"
        self._masked = [form for secret in self.secrets for form in _written_forms(secret)]
        # Empty if the last HTTP response was a message of the protocol.
        self._http_status = ""
        # Output of the server, quoted when it fails.
        self._log: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._thread = start_blocking_portal(name="mcp-server")
        self._portal = self._thread.__enter__()
        try:
            self._serving, self._session = self._portal.start_task(self._serve)
        # The SDK raises many types of errors, also in exception groups.
        except Exception as error:
            failure = self._connection_error(error)
            self._end_thread()
            raise failure from error
        info = self._session.server_info
        self.server = untrusted_text.shown(f"{info.name} {info.version}") if info else ""

    def has_secret(self, text: str) -> bool:
        return any(secret in text for secret in self._masked)

    def masked(self, text: str) -> str:
        """Replace secrets and terminal control characters in a text."""
        for secret in self._masked:
            text = text.replace(secret, "…")
        return untrusted_text.plain(text)

    def shown(self, text: object) -> str:
        return untrusted_text.shown(self.masked(str(text)))

    def find_tool(self, name: str) -> tuple[str, Any]:
        """Return a tool's description and its input schema as the server wrote it."""

        async def tools_by_name() -> dict[str, types.Tool]:
            tools, cursor, has_more = dict[str, types.Tool](), None, True
            with anyio.fail_after(self.start_seconds):
                while has_more:
                    params = types.PaginatedRequestParams(cursor=cursor)
                    page = await self._session.list_tools(params=params)
                    tools |= {tool.name: tool for tool in page.tools}
                    # Some servers end the list with an empty cursor instead of none.
                    has_more = bool(cursor := page.next_cursor)
            return tools

        tools = self._ask(tools_by_name)
        if name not in tools:
            has = self.shown(", ".join(sorted(tools))) or "none"
            hint = self.masked(did_you_mean(name, tools))
            raise UnknownToolError(f"the server has no tool {name!r}.{hint} It has {has}")
        tool = tools[name]
        return tool.description or tool.title or "", (tool.meta or {}).get(_SCHEMA)

    def call(self, name: str, arguments: Mapping[str, object]) -> str | None:
        """Call a tool without a time limit and return the answer, None if it is empty.

        The answer is its text parts, or else its structured content, or else texts of resources.
        """
        result = self._ask(lambda: self._session.call_tool(name, dict(arguments)), is_call=True)
        resources = [part.resource for part in result.content if part.type == "resource"]
        text = (
            _joined(part.text for part in result.content if part.type == "text")
            or _structured_text(result.structured_content)
            or _joined(part.text for part in resources if hasattr(part, "text"))
        )
        if result.is_error:
            raise ToolCallError(_REFUSED, self.shown(text) or "no reason given")
        others = [_described(part) for part in result.content if part.type != "text"]
        if others and not text:
            message = (
                f"The answer of {self.name} contains no text, only {self.shown(', '.join(others))}."
            )
            raise ToolCallError("no_text_in_answer", message)
        if self.has_secret(text):
            # Masking would change the answer. With another secret the call may succeed.
            raise ToolCallError(
                "secret_in_answer",
                f"The answer of {self.name} contains a secret that the server was given, or text "
                "that is equal to it by chance. Give the server a longer secret.",
                is_permanent=False,
            )
        return text or None

    def close(self) -> None:
        """End the server; return when it has ended, after a few seconds at most."""
        self._serving.cancel()
        self._end_thread()

    def _end_thread(self) -> None:
        # The garbage collector may close a connection in its own thread, which then ends by itself
        # (RuntimeError), or while another thread closes it (ValueError).
        with suppress(RuntimeError, ValueError):
            self._thread.__exit__(None, None, None)
        self._log.close()

    async def _serve(self, *, task_status: TaskStatus[ClientSession]) -> None:
        try:
            with anyio.move_on_after(self.start_seconds) as starting:
                async with (
                    self._streams() as (read, write),
                    ClientSession(
                        dispatcher=_TolerantDispatcher(read, write),
                        message_handler=self._on_message,
                    ) as session,
                ):
                    await _initialize(session)
                    starting.deadline = math.inf
                    task_status.started(session)
                    await anyio.sleep_forever()
            raise TimeoutError(f"it was not ready within {self.start_seconds:g} s")
        finally:
            await self._portal.stop()

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        if not isinstance(self.target, str):
            program, *arguments = (*_KILLED_WITH_PARENT, *self.target)
            parameters = StdioServerParameters(
                command=program,
                args=arguments,
                env=dict(self.environment),
                cwd=self.folder,
                encoding_error_handler="replace",
            )
            async with stdio_client(parameters, errlog=cast("TextIO", self._log)) as streams:
                yield streams
            return
        async with (
            httpx.AsyncClient(
                headers={"authorization": f"Bearer {self.key}"} if self.key else {},
                timeout=httpx.Timeout(self.start_seconds, read=None),
                event_hooks={"response": [self._note_status]},
                **bypass_proxies(self.target),
            ) as client,
            streamable_http_client(self.target, http_client=client) as streams,
        ):
            yield streams

    async def _note_status(self, response: httpx.Response) -> None:
        # The SDK does not report the HTTP status. Only requests contain "method", answers do not.
        if b'"method"' in response.request.content:
            kind = response.headers.get("content-type", "").lower()
            is_message = kind.startswith(("application/json", "text/event-stream"))
            status = f"it answered {response.status_code} {response.reason_phrase}"
            self._http_status = "" if response.is_success and is_message else status

    async def _on_message(self, message: object) -> None:
        """Log output that is not a message; warn about each server's first such line."""
        if not isinstance(message, ValidationError):
            return
        line = self.shown(message.errors()[0]["input"])
        print(line, file=self._log, flush=True)
        if line and self.name not in _noisy_servers:
            _noisy_servers.add(self.name)
            _LOGGER.warning(
                f"{self.name} wrote a line that is not a message: {line!r}. Such lines are "
                "skipped. A program should write them to standard error."
            )

    def _ask(self, action: Callable[[], Awaitable[_Answer]], *, is_call: bool = False) -> _Answer:
        try:
            return self._portal.start_task_soon(action).result()
        except TimeoutError as error:
            message = f"it did not answer within {self.start_seconds:g} s"
            raise self._connection_error(TimeoutError(message)) from error
        except MCPError as error:
            broken = self._http_status or error.code in (types.CONNECTION_CLOSED, types.PARSE_ERROR)
            if is_call and (error.code == types.INVALID_PARAMS or not broken):
                raise ToolCallError(_REFUSED, self.shown(error)) from error
            raise self._connection_error(error) from error
        except (ValidationError, RuntimeError, CancelledError) as error:
            raise self._connection_error(error) from error

    def _connection_error(self, error: BaseException) -> TransientToolError:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        kind = "" if isinstance(error, TimeoutError | MCPError) else type(error).__name__
        # Further lines quote the message and may split a secret, which would not be masked then.
        line = next(iter(str(error).splitlines()), "")
        cause = self.shown(": ".join(filter(None, (self._http_status, kind, line)))).rstrip(".: ")
        log = ""
        if not self._log.closed:
            self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _MAX_LOG_BYTES))
            log = self.masked(" ".join(self._log.read().split()))[-_MAX_LOG_CHARACTERS:]
        return TransientToolError(f"{self.name} failed: {cause}{log and f'; it wrote: {log}'}")


class _TolerantDispatcher(JSONRPCDispatcher[Any]):
    """Corrects answers that the SDK would reject as a whole."""

    async def send_raw_request(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        result = await super().send_raw_request(*args, **kwargs)
        if "structuredContent" in result:
            # Some servers omit the required empty list.
            result["content"] = result.get("content") or []
        if isinstance(tools := result.get("tools"), list):
            tools = [tool for tool in tools if isinstance(tool, dict)]
            result["tools"] = [
                _corrected(tool) for tool in tools if isinstance(tool.get("name"), str)
            ]
        return result


def _corrected(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool with a valid input schema, the original as metadata, and no output schema."""
    known = schema = tool.get("inputSchema")
    try:
        parameters_of_schema(schema, tool["name"])
    # The error is raised if this tool is used, when its original schema is read.
    except ToolSettingsError:
        known = None
    texts = {
        key: tool[key] for key in ("name", "title", "description") if type(tool.get(key)) is str
    }
    known = {key: value for key, value in (known or {}).items() if key != "$schema"}
    return {**texts, "inputSchema": {**known, "type": "object"}, "_meta": {_SCHEMA: schema}}


async def _initialize(session: ClientSession) -> None:
    try:
        await session.initialize()
    except MCPError as error:
        # Since the protocol of July 2026, a server need not support this handshake.
        try:
            await session.discover()
        except MCPError:
            raise error from None


def _written_forms(secret: str) -> set[str]:
    """Return a secret as it appears in texts, in `repr` and in JSON."""
    escaped = (json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    return {secret, repr(secret)[1:-1], *escaped}


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(texts).strip()


def _structured_text(content: object) -> str:
    """Return structured content as JSON, but strings and an object's only value without it."""
    if isinstance(content, dict) and len(content) == 1:
        (content,) = content.values()
    if content in (None, {}, []):
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _described(part: Any) -> str:
    resource = getattr(part, "resource", part)
    about = getattr(resource, "mime_type", None) or getattr(resource, "uri", "")
    return f"{part.type} {about}".strip()
