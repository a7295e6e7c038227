"""A connection to an MCP server at an address, by the protocol's streamable HTTP."""

import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from toolformer.base.loopback import past_proxies
from tools.errors import ToolSettingsError
from tools.plugins.mcp_server import McpConnection, ServerLostError

# They would tell of every request, and of errors that are raised here.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("mcp.client.streamable_http").setLevel(logging.CRITICAL)


def checked_address(address: str) -> str:
    """The address of a server; ToolSettingsError where it is none, or may hold a secret."""
    if not re.fullmatch(r"https?://[^@/?#\s]+(/[^?#\s]*)?", address):
        raise ToolSettingsError(
            "expected an address such as http://localhost:8931/mcp (HTTP, not a websocket), "
            "without user, password or query; the variable of a key is named by key_variable"
        )
    return address


class HttpConnection(McpConnection):
    """A connection to a server that runs already; raises as `McpConnection` does.

    A redirect to another place is not followed, and no proxy is asked for this machine.

    Args:
        key_variable: Its key's, sent as a bearer token.
    """

    def __init__(
        self, url: str, key_variable: str | None, start_seconds: float | None = None
    ) -> None:
        self.name = f"the server at {url}"
        self._url = url
        # Of the last answer that is no message of the protocol: its status, if that is an error's.
        self._refusal: str | None = None
        self._words = ""
        self._key = os.environ.get(key_variable or "", "").strip()
        if key_variable and not (self._key and self._key.isascii() and self._key.isprintable()):
            # What stands there in place of a name may be the key.
            raise ServerLostError(
                "the variable that key_variable names is not set, or holds no key of one line"
            )
        self._secrets = [self._key] if self._key else []
        self._connect(start_seconds)

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        import httpx2 as httpx
        from mcp.client.streamable_http import streamable_http_client  # pyright: ignore[reportMissingImports]

        async with (
            httpx.AsyncClient(
                headers={"authorization": f"Bearer {self._key}"} if self._key else {},
                # An answer has the deadline of its call.
                timeout=httpx.Timeout(self._start_seconds, read=None),
                **past_proxies(self._url),
                event_hooks={"response": [self._look_at]},
            ) as client,
            streamable_http_client(self._url, http_client=client) as streams,
        ):
            yield streams

    async def _look_at(self, response: Any) -> None:
        # A reply of ours to the server has no method, and is accepted without an answer.
        if b'"method"' not in response.request.content:
            return
        kind = response.headers.get("content-type", "").lower()
        self._refusal, self._words = None, ""
        if response.is_error or not kind.startswith(("application/json", "text/event-stream")):
            status = f"it answered {response.status_code} {response.reason_phrase}"
            self._refusal = status if response.is_error else ""
            await response.aread()
            self._words = re.sub("<[^>]*>", " ", response.text).strip()

    def _fault(self, error: BaseException) -> str | None:
        from mcp import types  # pyright: ignore[reportMissingImports]

        code = getattr(error, "code", None)
        # The client passes on what an error in JSON says, and has the same number for its own.
        is_passed_on = str(error) in self._words
        is_refusal = code == types.INVALID_REQUEST and is_passed_on
        is_fault = code in (types.CONNECTION_CLOSED, types.PARSE_ERROR) or self._refusal is not None
        if code in (None, types.INVALID_PARAMS) or is_refusal or not is_fault:
            return None
        words = str(error) if is_passed_on else self._words
        return ": ".join(filter(None, (self._refusal or str(error), words)))
