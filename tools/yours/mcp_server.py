"""A connection to an MCP server that is a program of this machine, over its standard streams.

The official client library `mcp` is asynchronous; it runs in a thread of its own, for as long as
the server lives. The server is started without a shell, and ended with the connection. Does not
know what a tool is to this project; `tools.yours.mcp_tool` does.
"""

import asyncio
import concurrent.futures
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TextIO, TypeVar, cast

from tools.errors import MissingDependencyError, ToolError

if TYPE_CHECKING:
    from mcp import Client  # pyright: ignore[reportMissingImports]

_Answer = TypeVar("_Answer")

_SECONDS_TO_END = 10.0
_MOST_PAGES = 100
_LONGEST_LOG = 300


class ServerLostError(ToolError, ConnectionError):
    """The server does not start, does not speak the protocol, or ended."""


class ServerRefusalError(ToolError, ValueError):
    """The server answered with an error."""


@dataclass(frozen=True, slots=True)
class ServerTool:
    """What a server says of one of its tools.

    Attributes:
        name: On the server.
        description: For people.
        input_schema: JSON schema of its arguments.
        server: Name and version of the server, as far as it gives them.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    server: str


class McpConnection:
    """A running MCP server.

    Args:
        command: The program and its arguments.
        environment: Variables beside the few that the client library passes on.

    Raises:
        MissingDependencyError: When `mcp` is not installed.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        try:
            import mcp  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingDependencyError(
                f"The client library for MCP servers is not installed: {error}. Install it with "
                "`pip install 'mcp>=2.3,<3'`."
            ) from error
        self._command = list(command)
        self._environment = dict(environment)
        # What the server writes to its error output, to be quoted when it fails.
        self._log: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._serving = self._loop.create_task(self._serve())
        self._ready: concurrent.futures.Future[Client] = concurrent.futures.Future()
        # A daemon, so that a server that does not end cannot keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="mcp-server", daemon=True)
        self._thread.start()

    def find_tool(self, name: str, *, seconds: float) -> ServerTool:
        """Look a tool up, after waiting for the server to be ready.

        Args:
            name: On the server.
            seconds: Longest time to wait.

        Raises:
            ServerLostError: The server did not start or answer.
            ServerRefusalError: The server has no such tool.
        """

        async def find(client: "Client") -> ServerTool:
            cursor, names = None, []
            for _ in range(_MOST_PAGES):
                page = await client.list_tools(cursor=cursor)
                for tool in page.tools:
                    if tool.name == name:
                        info = client.server_info
                        return ServerTool(
                            name,
                            tool.description or tool.title or "",
                            tool.input_schema,
                            f"{info.name} {info.version}" if info else "",
                        )
                names += [tool.name for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    break
            raise ServerRefusalError(
                f"the server has no tool {name!r}; it has {', '.join(sorted(names)) or 'none'}"
            )

        return self._within(find, seconds)

    def call(self, name: str, arguments: Mapping[str, object], *, seconds: float) -> str | None:
        """Call a tool of the server.

        Args:
            name: On the server.
            arguments: Values by name.
            seconds: Longest time to wait for the answer.

        Returns:
            The text parts of the answer, one line each; None where there are none.

        Raises:
            ServerRefusalError: The server answered with an error.
            ServerLostError: The server ended.
            TimeoutError: There was no answer in time.
        """

        async def call(client: "Client") -> str | None:
            result = await client.call_tool(name, dict(arguments), read_timeout_seconds=seconds)
            texts = [part.text for part in result.content if part.type == "text"]
            if result.is_error:
                raise ServerRefusalError(" ".join(texts) or "no reason given")
            return "\n".join(texts) if texts else None

        return self._within(call, seconds)

    def close(self) -> None:
        """End the server; returns when it is gone, after some seconds at most."""
        # A loop that has ended, and the server with it, refuses.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop_serving)
        # The garbage collector may close a connection in any thread, also in its own.
        if threading.current_thread() is not self._thread:
            self._thread.join(_SECONDS_TO_END)

    def _stop_serving(self) -> None:
        """End the body of the thread; a server that never became ready has to be cancelled."""
        if self._ready.done():
            self._closing.set()
        else:
            self._serving.cancel()

    def _run(self) -> None:
        """Keep the connection up; the body of the thread."""
        try:
            self._loop.run_until_complete(self._serving)
        # Whatever ends the connection is told to whoever waits for it.
        except BaseException as error:  # noqa: BLE001
            if not self._ready.done():
                self._ready.set_exception(self._lost(_first_cause(error)))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._log.close()

    async def _serve(self) -> None:
        from mcp import (  # pyright: ignore[reportMissingImports]
            Client,
            StdioServerParameters,
            stdio_client,
        )

        parameters = StdioServerParameters(
            command=self._command[0], args=self._command[1:], env=self._environment
        )
        log = cast("TextIO", self._log)
        async with Client(stdio_client(parameters, errlog=log)) as client:
            self._ready.set_result(client)
            # The client has to be left by the task that entered it.
            await self._closing.wait()

    def _within(self, action: Callable[["Client"], Awaitable[_Answer]], seconds: float) -> _Answer:
        """Do something with the client in its thread, and wait for it."""
        from mcp import MCPError  # pyright: ignore[reportMissingImports]
        from mcp.types import (  # pyright: ignore[reportMissingImports]
            CONNECTION_CLOSED,
            REQUEST_TIMEOUT,
        )

        try:
            client = self._ready.result(seconds)
        except concurrent.futures.TimeoutError as error:
            raise self._lost(f"it was not ready within {seconds:g} s") from error
        try:
            return self._run_in_thread(lambda: action(client), seconds)
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise _no_answer_within(seconds) from error
            # Servers use the number for errors of their own too.
            if error.code == CONNECTION_CLOSED and not self._answers(client, seconds):
                raise self._lost("it has ended") from error
            raise ServerRefusalError(str(error)) from error

    def _answers(self, client: "Client", seconds: float) -> bool:
        """Whether the server still answers anything."""
        from mcp import MCPError  # pyright: ignore[reportMissingImports]

        try:
            self._run_in_thread(lambda: client.list_tools(cache_mode="refresh"), seconds)
        except (MCPError, ServerLostError, TimeoutError):
            return False
        return True

    def _run_in_thread(self, action: Callable[[], Awaitable[_Answer]], seconds: float) -> _Answer:
        awaited = _awaited(action)
        try:
            running = asyncio.run_coroutine_threadsafe(awaited, self._loop)
        except RuntimeError as error:
            awaited.close()
            raise self._lost("the connection is closed") from error
        try:
            # The client gives up by itself; a second more tells whether it could.
            return running.result(seconds + 1)
        except concurrent.futures.TimeoutError as error:
            running.cancel()
            raise _no_answer_within(seconds) from error

    def _lost(self, cause: object) -> ServerLostError:
        log = ""
        if not self._log.closed:
            self._log.seek(0)
            log = " ".join(self._log.read().split())[-_LONGEST_LOG:]
        wrote = f"; it wrote: {log}" if log else ""
        return ServerLostError(f"the server {self._command!r} is lost: {cause}{wrote}")


def _no_answer_within(seconds: float) -> TimeoutError:
    return TimeoutError(f"the server did not answer within {seconds:g} s")


async def _awaited(action: Callable[[], Awaitable[_Answer]]) -> _Answer:
    return await action()


def _first_cause(error: BaseException) -> str:
    """Describe the first error of a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
