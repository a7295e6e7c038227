"""A connection to an MCP server that is a program of this machine, over its standard streams.

The official client library `mcp` is asynchronous; it runs in a thread of its own, for as long as
the server lives. The server is started without a shell, and ended with the connection. Lines of its
standard output that are no messages, a banner say, are passed over, and the first is named.
`mcp_http.py` connects to a server at an address.
"""

import json
import logging
import math
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, TextIO, TypeVar, cast

from pydantic import ValidationError

from toolformer.base import foreign_texts
from toolformer.base.names import did_you_mean
from tools.errors import ToolCallError, ToolError, ToolSettingsError
from tools.plugins.parameters import parameters_of_schema

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from mcp import Client  # pyright: ignore[reportMissingImports]
    from mcp.types import Tool  # pyright: ignore[reportMissingImports]

_Answer = TypeVar("_Answer")

# Longest time of the start, and of a list of tools, unless the settings give another.
SECONDS_TO_START = 30.0

_LOGGER = logging.getLogger(__name__)
_LONGEST_LOG = 300
_LAST_BYTES_OF_LOG = 2**20
# Of variables of these names. A short value, such as `false`, would be found in any answer.
_SECRET = re.compile(r"key|token|secret|passw|credential|auth(?!ors?(_|$))", re.IGNORECASE)
_SHORTEST_SECRET = 8
# Those whose lines that are no messages were named.
_noisy_servers: set[str] = set()
# The library logs each such line with its stack.
logging.getLogger("mcp.client.stdio").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], ValidationError))
)


class ServerLostError(ToolError, ConnectionError):
    """The server does not start or answer, does not speak the protocol, or ended."""


class ServerRefusalError(ToolError, ValueError):
    """The server answered with an error."""


class McpConnection:
    """A running MCP server.

    Secrets that it was given are masked in what is told of it. No answer is kept that holds one:
    cut out, it would be another answer.

    Args:
        environment: Variables beside the few that the client library passes on.
        start_seconds: In place of `SECONDS_TO_START`.

    Raises:
        ImportError: When `mcp` is not installed.
        ServerLostError: When the server is not ready in time, or ends instead.
    """

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        folder: str,
        start_seconds: float | None = None,
    ) -> None:
        from mcp import StdioServerParameters  # pyright: ignore[reportMissingImports]

        self.name = f"the server {command!r}"
        self._secrets = [
            value
            for name, value in environment.items()
            if is_secret(name) and len(value) >= _SHORTEST_SECRET
        ]
        self._parameters = StdioServerParameters(
            command=command[0],
            args=command[1:],
            env=dict(environment),
            cwd=folder,
            encoding_error_handler="replace",
        )
        self._connect(start_seconds)

    def _connect(self, start_seconds: float | None) -> None:
        # It comes with `mcp`.
        from anyio.from_thread import start_blocking_portal

        self._start_seconds = start_seconds or SECONDS_TO_START
        # What the server writes that is no message, to be quoted when it fails.
        self._log: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._thread = start_blocking_portal(name="mcp-server")
        self._portal = self._thread.__enter__()
        try:
            self._serving, self._client = self._portal.start_task(self._serve)
        # Whatever the client library raises, also in groups: there is no connection.
        except Exception as error:
            first = _first_error(error)
            kind = "" if isinstance(first, TimeoutError) else f"{type(first).__name__}: "
            lost = self._lost(self._fault(first) or f"{kind}{first}")
            self._end_thread()
            raise lost from error
        info = self._client.server_info
        self.server = foreign_texts.shown(f"{info.name} {info.version}") if info else ""

    def _streams(self) -> AbstractAsyncContextManager[Any]:
        """The streams of messages, which end what they belong to."""
        from mcp import stdio_client  # pyright: ignore[reportMissingImports]

        return stdio_client(self._parameters, errlog=cast("TextIO", self._log))

    @asynccontextmanager
    async def _sound_streams(self) -> AsyncIterator[Any]:
        async with self._streams() as (read, write):
            self._refused: dict[str, str] = {}
            yield _SoundTools(read, self._refused), write

    def _fault(self, error: BaseException) -> str | None:  # noqa: ARG002
        """What broke, where an error is the client's and not an answer of the server."""
        return None

    def has_secret(self, text: str) -> bool:
        """Whether a text holds a secret that the server was given."""
        return any(secret in text for secret in self._secrets)

    def masked(self, text: str) -> str:
        """What the server wrote, without the secrets that it was given; see `plain`."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return foreign_texts.plain(text)

    def shown(self, text: object) -> str:
        """One short line of what the server wrote, masked before it is cut."""
        return foreign_texts.shown(self.masked(str(text)))

    def find_tool(self, name: str) -> "Tool":
        """Look a tool up.

        Raises:
            ServerLostError: The server ended.
            ServerRefusalError: The server has no such tool.
            ToolSettingsError: Its arguments cannot be written in calls.
            TimeoutError: There was no answer in time.
        """

        async def find() -> "Tool":
            cursor, names = None, []
            while True:
                page = await self._client.list_tools(cursor=cursor)
                for tool in page.tools:
                    if tool.name == name:
                        if wrong := self._refused.get(name):
                            raise ToolSettingsError(self.shown(wrong))
                        return tool
                names += [foreign_texts.shown(tool.name) for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    break
            has = self.shown(", ".join(sorted(names))) or "none"
            hint = self.masked(did_you_mean(name, names))
            raise ServerRefusalError(f"the server has no tool {name!r}.{hint} It has {has}")

        return self._ask(find)

    def call(self, name: str, arguments: Mapping[str, object]) -> str | None:
        """Call a tool of the server, however long it takes.

        Returns:
            The text parts of the answer, one line each; where there are none, its structured
            content, or else the text of the resources in it; None for an empty answer.

        Raises:
            ServerRefusalError: The server answered with an error, or ended just now.
            ToolCallError: With reason `secret_in_answer` when the answer holds a secret, and
                `no_text_in_answer` when it holds something else than text.
            ServerLostError: The server ended.
        """
        result = self._ask(lambda: self._client.call_tool(name, dict(arguments)), is_call=True)
        text = _text(part.text for part in result.content if part.type == "text")
        if not text:
            text = _structured_text(result.structured_content)
        if not text:
            parts = [part.resource for part in result.content if part.type == "resource"]
            text = _text(part.text for part in parts if hasattr(part, "text"))
        if result.is_error:
            raise ServerRefusalError(self.shown(text) or "no reason given")
        if not text and any(part.type != "text" for part in result.content):
            held = self.shown(
                ", ".join(_described(part) for part in result.content if part.type != "text")
            )
            raise ToolCallError(
                "no_text_in_answer", f"The answer of {self.name} holds no text, but {held}."
            )
        if self.has_secret(text):
            # With another secret it may be kept.
            raise ToolCallError(
                "secret_in_answer",
                f"The answer of {self.name} holds a secret that it was given, or has the same "
                "letters by chance: give it a longer one.",
                is_lasting=False,
            )
        return text or None

    def close(self) -> None:
        """End the server; returns when it is gone, after some seconds at most."""
        self._serving.cancel()
        self._end_thread()

    def _end_thread(self) -> None:
        # The garbage collector may close a connection in any thread. Waiting for its end is refused
        # in the connection's own, which ends by itself (RuntimeError), and while another thread
        # waits (ValueError).
        with suppress(RuntimeError, ValueError):
            self._thread.__exit__(None, None, None)
        self._log.close()

    async def _serve(self, *, task_status: "TaskStatus[Client]") -> None:
        """Keep the connection up until this is cancelled, and end the thread then."""
        import anyio
        from mcp import Client  # pyright: ignore[reportMissingImports]

        try:
            with anyio.move_on_after(self._start_seconds) as starting:
                # Without a cache: a list of tools is asked for to see what it is now.
                async with Client(
                    self._sound_streams(), message_handler=self._pass_over, cache=None
                ) as client:
                    starting.deadline = math.inf
                    task_status.started(client)
                    await anyio.sleep_forever()
            raise TimeoutError(f"it was not ready within {self._start_seconds:g} s")
        finally:
            await self._portal.stop()

    async def _pass_over(self, message: object) -> None:
        """Keep a line that is no message, and name the first; the client goes on behind it."""
        if not isinstance(message, ValidationError):
            return
        line = self.shown(message.errors()[0]["input"])
        print(line, file=self._log, flush=True)
        if line and self.name not in _noisy_servers:
            _noisy_servers.add(self.name)
            _LOGGER.warning(
                "Passed over what is no message, such as %r: %s writes it, and a program should "
                "write such lines to its error output.",
                line,
                self.name,
            )

    def _ask(self, action: Callable[[], Awaitable[_Answer]], *, is_call: bool = False) -> _Answer:
        """Do something with the client in its thread, and wait for it; only a call is refused."""
        from mcp import MCPError  # pyright: ignore[reportMissingImports]

        try:
            answer = self._portal.start_task_soon(action)
            return answer.result(None if is_call else self._start_seconds)
        except TimeoutError as error:
            raise TimeoutError(
                f"the server did not answer within {self._start_seconds:g} s"
            ) from error
        except MCPError as error:
            fault = self._fault(error)
            if is_call and fault is None:
                raise ServerRefusalError(self.shown(error)) from error
            raise self._lost(fault or error) from error
        except (ValidationError, RuntimeError, CancelledError) as error:
            raise self._lost("its answer is no message of the protocol, or broke off") from error

    def _lost(self, cause: object) -> ServerLostError:
        log = ""
        if not self._log.closed:
            written = os.fstat(self._log.fileno()).st_size
            self._log.seek(max(0, written - _LAST_BYTES_OF_LOG))
            log = self.masked(" ".join(self._log.read().split()))[-_LONGEST_LOG:]
        cause = self.shown(cause).rstrip(".: ")
        wrote = f"; it wrote: {log}" if log else ""
        return ServerLostError(f"{self.name} failed: {cause}{wrote}")


class _SoundTools:
    """Messages of a server, mended where the client would refuse them.

    It refuses a whole list of tools for one malformed tool, and an answer without `content`.

    Args:
        refused: Gets what is wrong with the arguments of a tool, by name.
    """

    def __init__(self, stream: Any, refused: dict[str, str]) -> None:
        self._stream, self._refused = stream, refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> "_SoundTools":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    def __aiter__(self) -> "_SoundTools":
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._stream)
        result = getattr(getattr(item, "message", None), "result", None)
        if isinstance(result, dict) and "structuredContent" in result:
            # Some servers leave out the empty list.
            result["content"] = result.get("content") or []
        if isinstance(result, dict) and isinstance(tools := result.get("tools"), list):
            tools = [tool for tool in tools if isinstance(tool, dict)]
            result["tools"] = [self._sound(tool) for tool in tools if type(tool.get("name")) is str]
        return item

    def _sound(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        name, schema = tool["name"], tool.get("inputSchema")
        self._refused.pop(name, None)
        try:
            parameters_of_schema(schema, name)
        except ToolSettingsError as error:
            self._refused[name], schema = str(error), {}
        # Not the form of its answers: they are taken as they are.
        said = {key: tool[key] for key in ("title", "description") if type(tool.get(key)) is str}
        arguments = {key: value for key, value in dict(schema or {}).items() if key != "$schema"}
        return {"name": name, **said, "inputSchema": {**arguments, "type": "object"}}


def _text(texts: Iterable[str]) -> str:
    return "\n".join(texts).strip()


def _structured_text(content: object) -> str:
    """Structured content as JSON; of an object with one value that value, and of a text itself."""
    if isinstance(content, dict) and len(content) == 1:
        (content,) = content.values()
    if content in (None, {}, []):
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _described(part: Any) -> str:
    """What a part of an answer is, and of which kind or where."""
    resource = getattr(part, "resource", part)
    about = getattr(resource, "mime_type", None) or getattr(resource, "uri", "")
    return f"{part.type} {about}".strip()


def is_secret(variable: str) -> bool:
    """Whether a variable of the environment is named like one that holds a secret."""
    return bool(_SECRET.search(variable))


def _first_error(error: BaseException) -> BaseException:
    """The first error of a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
