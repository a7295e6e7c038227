"""Binds the socket and runs the web server (uvicorn)."""

import contextlib
import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from toolformer.errors import ToolformerError

CLOSING_SECONDS = 30
"""Seconds that running texts have to finish after the signal to stop."""
_HEADERS = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-cache"),
]


def make_server(app: ASGIApp, *, closing_seconds: int = CLOSING_SECONDS) -> uvicorn.Server:
    """Return a server that, when signalled to stop, lets running requests finish."""
    config = uvicorn.Config(app, headers=_HEADERS, timeout_graceful_shutdown=closing_seconds)
    return uvicorn.Server(config)


def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    # Uvicorn raises the signal again after closing. The default action of SIGTERM would then end
    # the process before it closes the model and the processes of the tools.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        make_server(app).run([bound])


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the port but does not listen yet."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise ToolformerError(
            f"The server cannot listen on {host}, port {port}: {error}. Choose another address "
            "with --host or --port."
        ) from error
    return bound
