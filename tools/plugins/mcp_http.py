"""A connection to an MCP server at an address, by the protocol's streamable HTTP."""

import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from toolformer.base.loopback import past_proxies
from tools.errors import ToolSettingsError
from tools.plugins.mcp_server import SECONDS_TO_START, McpConnection, ServerLostError

# They would tell of every request, and of errors that are raised here.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("mcp.client.streamable_http").setLevel(logging.CRITICAL)


def checked_address(address: str) -> str:
    """The address of a server; ToolSettingsError where it is none, or may hold a secret."""
    if not re.fullmatch(r"https?://[^@/?#\s]+(/[^?#\s]*)?", address):
        raise ToolSettingsError(
            "expected an address such as http://localhost:8931/mcp, without user, password or "
            "query; the variable of a key is named by key_variable"
        )
    return address


class HttpConnection(McpConnection):
    """A connection to a server that runs already; raises as `McpConnection` does.

    A redirect to another place is not followed, and no proxy is asked for this machine.

    Args:
        key_variable: Its key's, sent as a bearer token.
    """

    def __init__(self, url: str, key_variable: str | None) -> None:
        self.name = f"the server at {url}"
        self._url, self._refusal = url, ""
        self._key = os.environ.get(key_variable or "", "").strip()
        if key_variable and not (self._key and self._key.isascii() and self._key.isprintable()):
            # What stands there in place of a name may be the key.
            raise ServerLostError(
                "the variable that key_variable names is not set, or holds no key of one line"
            )
        self._secrets = [self._key] if self._key else []
        self._connect()

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        import httpx2 as httpx
        from mcp.client.streamable_http import streamable_http_client  # pyright: ignore[reportMissingImports]

        async with (
            httpx.AsyncClient(
                headers={"authorization": f"Bearer {self._key}"} if self._key else {},
                # An answer has the deadline of its call.
                timeout=httpx.Timeout(SECONDS_TO_START, read=None),
                **past_proxies(self._url),
                event_hooks={"response": [self._look_at]},
            ) as client,
            streamable_http_client(self._url, http_client=client) as streams,
        ):
            yield streams

    async def _look_at(self, response: Any) -> None:
        if response.request.method == "POST":
            status = f"it answered {response.status_code} {response.reason_phrase}"
            self._refusal = status if response.is_error else ""

    def _fault(self, error: BaseException) -> str | None:
        from mcp import types  # pyright: ignore[reportMissingImports]

        code = getattr(error, "code", None)
        # The client takes these for what broke; the number for wrong arguments is the server's.
        is_fault = code in (types.CONNECTION_CLOSED, types.INVALID_REQUEST, types.PARSE_ERROR)
        if code in (None, types.INVALID_PARAMS) or not (is_fault or self._refusal):
            return None
        return self._refusal or str(error)
