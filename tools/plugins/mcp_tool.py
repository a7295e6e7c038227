"""Wraps a tool of an MCP server (Model Context Protocol), as chat programs use them.

    tools:
      CountWords:
        class: tools.plugins.mcp_tool:McpTool
        options: {command: [python, server.py], tool: count_words, examples: […]}

Needs the extra `mcp`.
"""

import json
import os
import re
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from toolformer.base.constants import INSTALL_EXTRA
from toolformer.base.digests import file_digest, hex_digest
from toolformer.base.untrusted_text import plain
from tools.base import with_checked_settings
from tools.errors import (
    ToolCallError,
    ToolSettingsError,
    ToolUnavailableError,
    TransientToolError,
    UnknownToolError,
    tool_changed_error,
)
from tools.plugins.function_tool import FunctionTool
from tools.plugins.parameters import parameters_of_schema

if TYPE_CHECKING:
    from tools.plugins.mcp_client import McpConnection

MCP_TOOL = "tools.plugins.mcp_tool:McpTool"
SECONDS_TO_START = 30.0
# A server may change its tools without notice.
_SECONDS_BETWEEN_CHECKS = 10.0
_CODE = {".cjs", ".jar", ".js", ".mjs", ".php", ".pl", ".py", ".pyz", ".rb", ".sh", ".ts"}
_SECRET = re.compile(r"key|token|secret|passw|credential|auth(?!ors?(_|$))", re.IGNORECASE)
# A shorter value, such as `false`, would occur in any answer.
_MIN_SECRET_CHARACTERS = 8


class McpTool(FunctionTool):
    """One tool of an MCP server, which is a program started here or runs at an address.

    The version includes command or address, the code files in the command, name and version of the
    server, and the tool's schema, but no secret. If one of these changes while the tool is in use,
    the tool becomes unavailable. If the server ends during a call, the call is repeated once on a
    new connection. `IsolatedTool` ends calls that take too long.

    Args:
        tool: The tool's name on the server.
        command: Program and arguments, run without a shell.
        url: Address of a running server, instead of a command.
        key_variable: Environment variable with the key of such a server.
        examples: Texts with calls, for the prompt; see `tools.prompting.draft_prompt`.
        environment: Variables of the server, in addition to a few such as PATH and HOME.
        start_seconds: Time limit for the start of the server, 30 by default.
        folder: Working directory of the server.
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
        if (command is None) == (url is None) or (environment if url else key_variable):
            raise ToolSettingsError(
                f"{name}: expected either command, with environment, or url, with key_variable."
            )
        self.name, self.tool, self._url = name, tool, url and checked_address(url)
        self._target = self._url or command or []
        self._programs = programs_of(command or [], folder)
        self._connection: McpConnection | None = None
        variables, key = environment or {}, _key_of(key_variable, name)
        secrets = {each: value for each, value in variables.items() if _SECRET.search(each)}
        hidden = [value for value in secrets.values() if len(value) >= _MIN_SECRET_CHARACTERS]
        self._options: dict[str, Any] = {
            "environment": variables,
            "folder": folder,
            "key": key,
            "secrets": [key] if key else hidden,
            "start_seconds": start_seconds or SECONDS_TO_START,
        }
        without_secrets = json.dumps(variables | dict.fromkeys(secrets, False), sort_keys=True)
        digest = variables and hex_digest(without_secrets, size=8)
        of_command = {"command": command, "environment": digest}
        named = {"url": url, "key_variable": key_variable} if url else of_command
        self._server = " ".join(f"{option}={value}" for option, value in named.items() if value)
        try:
            connection = self._connected()
            description, schema = connection.find_tool(tool)
            version = self._version(connection, schema)
        except ImportError as error:
            remedy = f"Run `{INSTALL_EXTRA.format('mcp')}` in the clone"
            raise ToolUnavailableError(name, "the package mcp is not installed", remedy) from error
        except (TransientToolError, UnknownToolError, ToolSettingsError) as error:
            reason = self._connection.masked(str(error)) if self._connection else str(error)
            raise self._unavailable(reason.rstrip("."), self._remedy(error)) from error
        self._checked_until = time.monotonic() + _SECONDS_BETWEEN_CHECKS
        description = plain(description.split("\n\n")[0])
        if connection.has_secret(f"{connection.server}\n{description}\n{json.dumps(schema)}"):
            reason = "its description or schema contains a secret that the server was given"
            raise self._unavailable(reason, "Give the server a longer secret")
        super().__init__(
            name=name,
            description=description or f"The tool {tool} of an MCP server.",
            schema=schema,
            function=self._ask,
            version=version,
            examples=examples or (),
            needs_network=needs_network or url is not None,
        )
        # Parsing of calls depends only on the schema.
        self.sampling_version = f"2 {self.version.rpartition(' ')[2]}"

    def close(self) -> None:
        """End the server or the connection; the next call starts it again."""
        if self._connection is not None:
            self._ending()
            self._connection = None

    def _unavailable(self, reason: str, remedy: str) -> ToolUnavailableError:
        self.close()
        return ToolUnavailableError(self.name, reason, remedy)

    def _remedy(self, error: Exception) -> str:
        if isinstance(error, ToolSettingsError):
            return "Leave it out"
        if isinstance(error.__cause__, TimeoutError):
            return (
                "It may still be starting or downloading: run it once by hand, or raise "
                "start_seconds in its options"
            )
        if self._url is None:
            return "Correct command and tool in its options"
        return (
            "Start a server that speaks streamable HTTP (not SSE or a websocket), or correct url, "
            "key_variable and tool in its options"
        )

    def _version(self, connection: "McpConnection", schema: Any) -> str:
        # The order of parameters counts, since calls give values by position.
        names = [parameter.name for parameter in parameters_of_schema(schema, self.tool)]
        digest = hex_digest(json.dumps(schema, sort_keys=True), *names, size=8)
        # The reported version is often the library's and does not change with the server's code.
        files = hex_digest(*map(file_digest, filter(Path.is_file, self._programs)), size=8)
        server = f"{self._server}{f' files={files}' if self._programs else ''}"
        return f"3 {server} tool={self.tool} server={connection.server} schema={digest}"

    def _ask(self, /, **values: object) -> str | None:
        """Call the tool with values, a second time if the server ended."""
        try:
            return self._answer(values)
        except TransientToolError:
            self.close()
        try:
            return self._answer(values)
        except TransientToolError as error:
            self.close()
            if self._url:
                raise
            message = f"{self.name}: {error}."
            raise ToolCallError("server_died", message, is_permanent=False) from error

    def _answer(self, values: Mapping[str, object]) -> str | None:
        connection = self._connected()
        if time.monotonic() > self._checked_until:
            self._check_version(connection)
        try:
            return connection.call(self.tool, values)
        except ToolCallError as error:
            if error.reason != "refused_by_server":
                raise
            # The server may refuse every call because it has ended or has changed the tool.
            self._check_version(connection)
            raise ToolCallError(error.reason, f"{self.name}: {str(error).rstrip('.')}.") from error

    def _check_version(self, connection: "McpConnection") -> None:
        """Raise ToolUnavailableError if the tool has changed since it was made."""
        try:
            now = self._version(connection, connection.find_tool(self.tool)[1])
        except (UnknownToolError, ToolSettingsError) as error:
            now = str(error)
        if now != self.version:
            raise tool_changed_error(self.name, self.version, connection.masked(now))
        self._checked_until = time.monotonic() + _SECONDS_BETWEEN_CHECKS

    def _connected(self) -> "McpConnection":
        if self._connection is None:
            from tools.plugins.mcp_client import McpConnection

            self._connection = McpConnection(self._target, **self._options)
            self._checked_until = 0.0
            # Closes the connection even if the tool is not closed, at the latest at exit.
            self._ending = weakref.finalize(self, self._connection.close)
        return self._connection


def checked_address(address: str) -> str:
    """Return the address of a server; raise ToolSettingsError if it may contain a secret."""
    if not re.fullmatch(r"https?://[^@/?#\s]+(/[^?#\s]*)?", address):
        raise ToolSettingsError(
            "expected an address such as http://localhost:8931/mcp (HTTP, not a websocket), "
            "without user, password or query. Name the environment variable of a key in "
            "key_variable"
        )
    return address


def _key_of(variable: str | None, tool_name: str) -> str:
    key = os.environ.get(variable or "", "").strip()
    if variable and not (key and key.isascii() and key.isprintable()):
        raise ToolUnavailableError(
            tool_name,
            # The name is not shown, because it may be the key itself, given by mistake.
            "the variable named in key_variable is not set, or is not a key of one line",
            "Set it, or correct key_variable in its options",
        )
    return key


def programs_of(command: Sequence[str], folder: str) -> list[Path]:
    """Return the code files in a command; the server may write to any other file."""
    named = [Path(folder, part) for part in command]
    own = [file for file in named[:1] if file.is_relative_to(folder)]
    own += [file for file in named[1:] if file.suffix in _CODE]
    # `Path.is_file` raises if an argument is too long for a path.
    return [file for file in own if os.path.isfile(file)]  # noqa: PTH113
