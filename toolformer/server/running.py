"""The socket and the options of the web server, which is uvicorn."""

import contextlib
import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from toolformer.errors import ToolformerError

CLOSING_SECONDS = 30
"""How long texts may go on after the signal to end."""
_HEADERS = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-cache"),
]


def make_server(app: ASGIApp, *, closing_seconds: int = CLOSING_SECONDS) -> uvicorn.Server:
    """Return a server that answers until a signal, and then lets what runs finish."""
    config = uvicorn.Config(app, headers=_HEADERS, timeout_graceful_shutdown=closing_seconds)
    return uvicorn.Server(config)


def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Answer until SIGTERM or SIGINT."""
    # uvicorn raises the signal again when it has closed. SIGTERM would then end the process at
    # once, and nobody would close the model and the processes of the tools.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        make_server(app).run([bound])


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has the port but does not listen yet.

    Raises:
        ToolformerError: the address or port cannot be had.
    """
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
            f"{host}, port {port}, cannot be listened on: {error}. Name another with --host or "
            "--port."
        ) from error
    return bound
