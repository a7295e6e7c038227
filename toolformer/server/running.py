"""Runs the server: listens, serves, and stops on a signal."""

import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from toolformer.errors import ToolformerError
from toolformer.server.served import Served

CLOSING_SECONDS = 30.0
"""How long texts that are decoded may go on after the signal to end."""
_SENDING_SECONDS = 5


class Server(uvicorn.Server):
    """Answers until SIGTERM or SIGINT; then what runs may finish, and what comes is refused.

    Args:
        closing_seconds: how long what runs may go on.
    """

    def __init__(
        self,
        app: ASGIApp,
        served: Served,
        *,
        on_start: Callable[[], None],
        closing_seconds: float = CLOSING_SECONDS,
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
                timeout_graceful_shutdown=_SENDING_SECONDS,
            )
        )
        self._served = served
        self._on_start = on_start
        self._closing_seconds = closing_seconds
        self._has_begun_to_close = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Have the loop begin to close; at a second signal end at once."""
        # No more: whoever holds a lock that a thread needs to begin may be what this interrupts.
        self.should_exit = self._served.is_closing
        self._served.is_closing = True

    async def on_tick(self, counter: int) -> bool:
        """Called several times a second: begin to close when it was told."""
        if self._served.is_closing and not self._has_begun_to_close:
            self._has_begun_to_close = True
            threading.Thread(target=self._close, name="closing", daemon=True).start()
        return await super().on_tick(counter)

    def _close(self) -> None:
        self._served.close(self._closing_seconds)
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
