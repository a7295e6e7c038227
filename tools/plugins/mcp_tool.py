"""A tool of an MCP server, such as others offer to chat programs (Model Context Protocol).

    tools:
      CountWords:
        class: tools.plugins.mcp_tool:McpTool
        options: {command: [python, server.py], tool: count_words, examples: […]}

The server is a program of the user's choice, started with the tool and ended with the process.
Needs the package `mcp`, which is not installed by default.
"""

import json
import threading
import weakref
from functools import partial
from typing import Annotated

from pydantic import Field, PositiveFloat

from toolformer.constants import INSTALL_EXTRA
from toolformer.files.digests import hex_digest
from tools.base import with_checked_settings
from tools.errors import (
    ToolCallError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.function_tool import FunctionTool
from tools.plugins.mcp_server import McpConnection, ServerLostError, ServerRefusalError
from tools.plugins.parameters import parameters_of_schema

MCP_TOOL = "tools.plugins.mcp_tool:McpTool"


class McpTool(FunctionTool):
    """One tool of an MCP server that is started here and spoken to over its standard streams.

    Name, version of the server and the tool's schema are part of the version. When the server
    ends, it is started anew and the call is made once more; after a call without an answer in time
    it is started anew for the next one.

    Args:
        name: As written in calls; given by the registry.
        command: The program and its arguments, run without a shell.
        tool: The tool's name on the server.
        examples: Texts with calls in them, for the prompt; see `tools.prompting.draft_prompt`.
        environment: Variables for the server, which else gets only the likes of PATH and HOME.
        needs_network: Whether the server takes more than this machine.
        seconds: Longest time of a call, and of the start.
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
        command: Annotated[list[str], Field(min_length=1)],
        tool: str,
        *,
        examples: list[str] | None = None,
        environment: dict[str, str] | None = None,
        needs_network: bool = False,
        seconds: PositiveFloat = 30.0,
        folder: str = ".",
    ) -> None:
        self.tool = tool
        self._connect = partial(McpConnection, command, environment or {}, folder)
        self.seconds = seconds
        self._lock = threading.Lock()
        self._connection: McpConnection | None = None
        try:
            connection = self._connected()
            listed_tool = connection.find_tool(tool, seconds=seconds)
            parameters_of_schema(listed_tool.input_schema, tool)
        except ImportError as error:
            raise ToolUnavailableError(
                name,
                "the package mcp is not installed",
                f"Run `{INSTALL_EXTRA.format('mcp')}` in the clone",
            ) from error
        except ToolSettingsError as error:
            self.close()
            raise ToolUnavailableError(
                name, f"its arguments cannot be written in calls ({error})", "Leave it out"
            ) from error
        except (ServerLostError, ServerRefusalError, TimeoutError) as error:
            self.close()
            raise ToolUnavailableError(
                name, str(error), "Correct command and tool in its options"
            ) from error
        digest = hex_digest(json.dumps(listed_tool.input_schema, sort_keys=True), size=8)
        description = (listed_tool.description or listed_tool.title or "").split("\n\n")[0]
        super().__init__(
            name=name,
            description=description or f"The tool {tool} of an MCP server.",
            schema=listed_tool.input_schema,
            function=self._ask,
            version=f"1 command={command} tool={tool} server={connection.server} schema={digest}",
            examples=examples or (),
            needs_network=needs_network,
        )

    def close(self) -> None:
        """End the server; the next call starts it anew."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _ask(self, /, **values: object) -> str | None:
        """Call the tool with values; once more where the server ended meanwhile.

        Raises:
            ToolCallError: With reason `refused_by_server`, or `server_died` when the server ends at
                this call each time.
            ToolTimeoutError: When there is no answer in time.
        """
        for is_last in (False, True):
            try:
                return self._connected().call(self.tool, values, seconds=self.seconds)
            except TimeoutError as error:
                self._abandon()
                raise ToolTimeoutError(f"{self.name}: {error}.") from error
            except ServerRefusalError as error:
                raise ToolCallError("refused_by_server", f"{self.name}: {error}.") from error
            except ServerLostError as error:
                self.close()
                if is_last:
                    # Another server may well answer the call.
                    raise ToolCallError(
                        "server_died", f"{self.name}: {error}.", is_lasting=False
                    ) from error
        return None

    def _abandon(self) -> None:
        """Let the next call start another server: this one may be busy with a call for ever."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            # It takes some seconds where the server does not listen.
            threading.Thread(target=connection.close, daemon=True).start()

    def _connected(self) -> McpConnection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(seconds=self.seconds)
                # Also when nobody closes the tool: at its end, or at that of the process.
                weakref.finalize(self, self._connection.close)
            return self._connection
