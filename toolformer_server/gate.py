"""Middleware: authorization, request ids, the log, and the headers of every response."""

import hmac
import logging
from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toolformer.errors import ToolformerError
from toolformer_server.api_errors import ApiError, internal
from toolformer_server.metrics import Metrics
from toolformer_server.request_log import LEFT, RequestRecord
from toolformer_server.web_guard import LOOPBACK, foreign_page, wrong_host

KEY_VARIABLE = "TOOLFORMER_API_KEY"
_LOGGER = logging.getLogger(__name__)
_MAX_PATH = 200
# Other paths count as one: a stranger must not be able to make up any number of them.
_COUNTED_PATHS = (
    *("/", "/health", "/metrics", "/v1/completions", "/v1/models"),
    *("/tokenizer_info", "/tokenize", "/detokenize"),
)
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


@dataclass(frozen=True)
class Gate:
    """Lets requests through to the application, and writes down what became of them.

    Attributes:
        app: the application.
        bound_to: the address or name that the server was told to bind to.
        key: what clients must know; None where all may ask.
        free_paths: what may be read without the key.
        metrics: count the requests.
    """

    app: ASGIApp
    bound_to: str
    key: str | None
    free_paths: Collection[str]
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        record = RequestRecord(self.metrics)
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
        except Exception:
            _LOGGER.exception(
                "a request failed", extra={"fields": {"request_id": record.request_id}}
            )
            if not status:
                await internal(record.request_id).response(scope, receive, send_with_headers)
        finally:
            path, status = scope["path"], LEFT if record.has_left else status
            counted = path if path in _COUNTED_PATHS else "other"
            self.metrics.requests.labels(counted, str(status)).inc()
            record.write_down(path[:_MAX_PATH], status)

    def _refusal(self, scope: Scope) -> ApiError | None:
        if reason := wrong_host(scope, bound_to=self.bound_to):
            return ApiError(421, f"Refused: {reason}", code="wrong_host")
        if reason := foreign_page(scope):
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
