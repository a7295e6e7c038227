"""Middleware: authorization, request ids, the log, and the headers of every response."""

import asyncio
import hmac
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toolformer.errors import ToolformerError
from toolformer.server.api_errors import ApiError, closing, internal
from toolformer.server.request_log import LEFT, RequestRecord
from toolformer.server.web_guard import LOOPBACK, foreign_page, wrong_host

KEY_VARIABLE = "TOOLFORMER_API_KEY"
_LOGGER = logging.getLogger(__name__)
_MAX_PATH = 200
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


def check_access(host: str, key: str | None) -> None:
    """Refuse to open a server without a key to others than this machine.

    Raises:
        ToolformerError: says what to set.
    """
    if host.lower() not in LOOPBACK and not key:
        raise ToolformerError(
            f"--host {host} lets other machines ask, and there is no key. Set {KEY_VARIABLE} to a "
            "long secret that clients send as `Authorization: Bearer …`, or leave out --host."
        )


def check_names(allowed_hosts: Collection[str], cors_origins: Collection[str]) -> None:
    """Refuse names that no header will ever hold, and patterns, which would let anybody in.

    Raises:
        ToolformerError: says which, and what was expected.
    """
    for name in allowed_hosts:
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ToolformerError(
                f"--allowed-host is {name!r}. Expected a name without scheme, port or *, such as "
                "toolformer.default.svc."
            )
    for origin in cors_origins:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/*\sA-Z]+", origin):
            raise ToolformerError(
                f"--cors-origin is {origin!r}. Expected scheme and host of a page in small "
                "letters, without path or *, such as https://chat.example.org."
            )


@dataclass(frozen=True)
class Gate:
    """Lets requests through to the application, and writes down what became of them.

    Attributes:
        bound_to: the address or name that the server was told to bind to.
        key: what clients must know; None where all may ask.
        free_paths: what may be read without the key.
        allowed_hosts: names by which the server may be asked besides.
        cors_origins: whose pages may ask besides its own.
    """

    app: ASGIApp
    bound_to: str
    key: str | None
    free_paths: Collection[str]
    allowed_hosts: Collection[str] = ()
    cors_origins: Collection[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        record = RequestRecord()
        scope.setdefault("state", {})["record"] = record
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                request_id = (b"x-request-id", record.request_id.encode())
                message["headers"] = [*message["headers"], *_HEADERS, request_id]
            await send(message)

        try:
            refusal = self._refusal(scope)
            app = self.app if refusal is None else refusal.response
            await app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # The server ends, and has waited for what runs.
            if not status:
                await closing().response(scope, receive, send_with_headers)
        except Exception:
            _LOGGER.exception(
                "a request failed", extra={"fields": {"request_id": record.request_id}}
            )
            if not status:
                await internal(record.request_id).response(scope, receive, send_with_headers)
        finally:
            record.write_down(scope["path"][:_MAX_PATH], LEFT if record.has_left else status)

    def _refusal(self, scope: Scope) -> ApiError | None:
        further = self.allowed_hosts
        if reason := wrong_host(scope, bound_to=self.bound_to, further=further):
            message = f"Refused: {reason} --allowed-host adds a name."
            return ApiError(421, message, code="wrong_host")
        if reason := foreign_page(scope, allowed=self.cors_origins):
            return ApiError(403, f"Refused: {reason}", code="foreign_page")
        if self.key is None or scope["path"] in self.free_paths:
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {self.key}".encode()):
            return None
        return ApiError(
            401,
            "The key is missing or wrong. Expected the header `Authorization: Bearer …` with the "
            f"server's {KEY_VARIABLE}.",
            code="invalid_api_key",
        )
