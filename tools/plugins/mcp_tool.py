"""A tool of an MCP server, such as others offer to chat programs (Model Context Protocol).

    tools:
      CountWords:
        class: tools.plugins.mcp_tool:McpTool
        options: {command: [python, server.py], tool: count_words, examples: […]}

The server is a program of the user's choice, started with the tool and ended with the process, or
has a `url` in place of `command`. Needs the package `mcp`, which is not installed by default.
"""

import json
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from toolformer.base.constants import INSTALL_EXTRA
from toolformer.base.digests import file_digest, hex_digest
from toolformer.base.foreign_texts import plain
from tools.base import with_checked_settings
from tools.errors import ToolCallError, ToolSettingsError, ToolUnavailableError, changed_tool
from tools.plugins.function_tool import FunctionTool
from tools.plugins.mcp_http import HttpConnection, checked_address
from tools.plugins.mcp_server import McpConnection, ServerLostError, ServerRefusalError, is_secret
from tools.plugins.parameters import parameters_of_schema

MCP_TOOL = "tools.plugins.mcp_tool:McpTool"
# A server may change its tools without a word.
_SECONDS_BETWEEN_LOOKS = 10.0
_OF_CODE = frozenset(
    {".cjs", ".jar", ".js", ".mjs", ".php", ".pl", ".py", ".pyz", ".rb", ".sh", ".ts"}
)


class McpTool(FunctionTool):
    """One tool of an MCP server that is started here, or of one at an address.

    Command or address, the files of code that the command names (its first only where that lies in
    the folder), name and version of the server and the tool's schema are part of the
    version; where one changes while the tool is in use, it is unavailable. A server that reads
    other files says another version of its own when they change. The version also has the
    name of the key's variable, and a digest of the server's own variables, of those that are named
    like secrets without the value: another key gives no other answers. When the server ends, it
    or the connection is started anew and the call is made once more. A call has the deadline of the
    process that the tool lives in, which ends the server too.

    Args:
        name: As written in calls; given by the registry.
        tool: The tool's name on the server.
        command: The program and its arguments, run without a shell.
        url: The address of a server that runs already, in place of a command.
        key_variable: Name of the environment variable that holds the key of such a server.
        examples: Texts with calls in them, for the prompt; see `tools.prompting.draft_prompt`.
        environment: Variables for the server, which else gets only the likes of PATH and HOME.
        needs_network: Whether the server takes more than this machine.
        start_seconds: Longest time until the server is ready, such as for one that downloads
            something at its first start; 30 by default.
        folder: Where the server runs, and relative paths of its command begin.

    Raises:
        ToolSettingsError: When a setting cannot be used.
        ToolUnavailableError: When `mcp` is not installed, or the server does not start or has no
            such tool, or one whose arguments cannot be written in calls.
    """

    name = "McpTool"

    @with_checked_settings
    def __init__(
        self,
        name: str,
        tool: str,
        *,
        command: Annotated[list[str], Field(min_length=1)] | None = None,
        url: str | None = None,
        key_variable: str | None = None,
        examples: list[str] | None = None,
        environment: dict[str, str] | None = None,
        needs_network: bool = False,
        start_seconds: Annotated[float, Field(gt=0)] | None = None,
        folder: str = ".",
    ) -> None:
        self.name = name
        self.tool = tool
        if (command is None) == (url is None) or (environment if url else key_variable):
            raise ToolSettingsError(
                f"{name}: expected either command, with environment, or url, with key_variable."
            )
        self._connect = partial(
            McpConnection, command or [], environment or {}, folder, start_seconds
        )
        self._server = f"command={command}{_told(environment or {})}"
        self._programs = _programs_of(command or [], folder)
        if url is not None:
            self._connect = partial(
                HttpConnection, checked_address(url), key_variable, start_seconds
            )
            self._server = f"url={url}" + (f" key_variable={key_variable}" if key_variable else "")
        self._lock = threading.Lock()
        self._connection: McpConnection | None = None
        try:
            connection = self._connected()
            listed_tool = connection.find_tool(tool)
            self._looked_until = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        except ImportError as error:
            raise ToolUnavailableError(
                name,
                "the package mcp is not installed",
                f"Run `{INSTALL_EXTRA.format('mcp')}` in the clone",
            ) from error
        except ToolSettingsError as error:
            self.close()
            raise ToolUnavailableError(
                name, f"it cannot be written in calls ({error})", "Leave it out"
            ) from error
        except (ServerLostError, ServerRefusalError, TimeoutError) as error:
            self.close()
            remedy = "Correct command and tool in its options"
            if url is not None:
                remedy = (
                    "Start a server that speaks streamable HTTP (not SSE or a websocket), or "
                    "correct url, key_variable and tool in its options"
                )
            if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
                remedy = (
                    "It may still be starting or downloading: run it once by hand, or raise "
                    "start_seconds in its options"
                )
            raise ToolUnavailableError(name, str(error), remedy) from error
        description = plain((listed_tool.description or listed_tool.title or "").split("\n\n")[0])
        schema = listed_tool.input_schema
        kept = f"{connection.server}\n{description}\n{json.dumps(schema)}"
        if connection.has_secret(kept):
            self.close()
            raise ToolUnavailableError(
                name,
                "what the server says of it holds a secret that the server was given",
                "Give the server a longer one",
            )
        super().__init__(
            name=name,
            description=description or f"The tool {tool} of an MCP server.",
            schema=schema,
            function=self._ask,
            version=self._version(connection, schema),
            examples=examples or (),
            needs_network=needs_network or url is not None,
        )
        # Calls are read by the schema alone.
        self.sampling_version = f"2 {self.version.rpartition(' ')[2]}"

    def _version(self, connection: McpConnection, schema: Mapping[str, object]) -> str:
        # Calls give values in the order of the parameters.
        names = [parameter.name for parameter in parameters_of_schema(schema, self.tool)]
        digest = hex_digest(json.dumps(schema, sort_keys=True), *names, size=8)
        # A server that is edited keeps its version: by default it is that of the library.
        files = hex_digest(*map(file_digest, filter(Path.is_file, self._programs)), size=8)
        server = f"{self._server}{f' files={files}' if self._programs else ''}"
        return f"3 {server} tool={self.tool} server={connection.server} schema={digest}"

    def close(self) -> None:
        """End the server or the connection; the next call starts it anew."""
        with self._lock:
            if self._connection is not None:
                self._ending()
                self._connection = None

    def _ask(self, /, **values: object) -> str | None:
        """Call the tool with values; once more where the server ended meanwhile.

        Raises:
            ToolCallError: With reason `refused_by_server`, or `server_died` when the server ends at
                this call each time.
            ServerLostError: When a server at an address cannot be asked, twice.
            ToolUnavailableError: When the server changed the tool.
        """
        for is_last in (False, True):
            try:
                return self._answer(values)
            except ServerLostError as error:
                self.close()
                if is_last and self._server.startswith("url="):
                    raise
                if is_last:
                    # Another server may well answer the call.
                    raise ToolCallError(
                        "server_died", f"{self.name}: {error}.", is_lasting=False
                    ) from error
        return None

    def _answer(self, values: Mapping[str, object]) -> str | None:
        connection = self._connected()
        if time.monotonic() > self._looked_until:
            self._look(connection)
        try:
            return connection.call(self.tool, values)
        except ServerRefusalError as error:
            # A server that has ended, or has changed the tool, refuses every call.
            self._look(connection)
            said = str(error).rstrip(".")
            raise ToolCallError("refused_by_server", f"{self.name}: {said}.") from error

    def _look(self, connection: McpConnection) -> None:
        """See that the tool is still the one that this was made of."""
        try:
            listed = connection.find_tool(self.tool)
            now = self._version(connection, listed.input_schema)
        except (ServerRefusalError, ToolSettingsError) as error:
            now = str(error)
        if now != self.version:
            raise changed_tool(self.name, self.version, connection.masked(now))
        self._looked_until = time.monotonic() + _SECONDS_BETWEEN_LOOKS

    def _connected(self) -> McpConnection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
                self._looked_until = 0.0
                # Also when nobody closes the tool: at its end, or at that of the process.
                self._ending = weakref.finalize(self, self._connection.close)
            return self._connection


def _programs_of(command: Sequence[str], folder: str) -> list[Path]:
    """The files of code that a command names; one from elsewhere, Python say, differs by machine.

    Other files may be what the server writes: its log, or its database.
    """
    named = [Path(folder, part) for part in command]
    own = [file for file in named[:1] if file.is_relative_to(folder)]
    own += [file for file in named[1:] if file.suffix in _OF_CODE]
    # An argument may be too long for a path.
    return [file for file in own if os.path.isfile(file)]  # noqa: PTH113


def _told(environment: Mapping[str, str]) -> str:
    """What a version says of a server's variables."""
    told = {name: not is_secret(name) and value for name, value in environment.items()}
    digest = hex_digest(json.dumps(told, sort_keys=True), size=8)
    return f" environment={digest}" if told else ""
