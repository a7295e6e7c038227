"""Runs the server: listens, serves, and stops on a signal."""

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from toolformer.errors import ToolformerError

CLOSING_SECONDS = 30
"""How long texts that are decoded may go on after the signal to end."""


class Server(uvicorn.Server):
    """Answers until SIGTERM or SIGINT; then what runs may finish, and nobody is listened to."""

    def __init__(
        self, app: ASGIApp, *, on_start: Callable[[], None], closing_seconds: int = CLOSING_SECONDS
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # Not what else is installed: what is tested is what runs.
                http="h11",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=closing_seconds,
            )
        )
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Close; at a second signal end at once."""
        # Not uvicorn's own: behind the end that raises the signal again, and the model and its
        # tools would not be closed.
        self.force_exit = self.should_exit
        self.should_exit = True


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that has the port but does not listen yet.

    Raises:
        ToolformerError: the address or port cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
