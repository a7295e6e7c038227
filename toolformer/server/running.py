"""Runs the server: listens, serves, and stops on a signal."""

import asyncio
import resource
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from toolformer.errors import ToolformerError

CLOSING_SECONDS = 30
"""How long texts that are decoded may go on after the signal to end."""
IDLE_SECONDS = 5
"""Seconds within which a connection must send a request, up to its body."""
# Half of the files that the process may open: the tools and the model need some, too.
_MAX_CONNECTIONS = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096) // 2


class _Connection(H11Protocol):
    """Closes itself if no request arrives; uvicorn waits for a first one, or a half one, forever.

    If too many are open, the one that has waited longest for a client makes room.
    """

    _idle_since: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_request(None)
        if len(self.connections) > _MAX_CONNECTIONS:
            others = (each for each in self.connections if isinstance(each, _Connection))
            idle = (each for each in others if each._is_idle)
            min(idle, key=lambda each: each._idle_since, default=self).transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        answered = self.cycle
        super().on_response_complete()
        self._await_request(answered)

    @property
    def _is_idle(self) -> bool:
        cycle = self.cycle
        awaits_client = not cycle or cycle.response_complete or cycle.more_body
        return awaits_client and not self.transport.is_closing()

    def _await_request(self, answered: RequestResponseCycle | None) -> None:
        self._idle_since = self.loop.time()
        self.loop.call_later(IDLE_SECONDS, self._close_unless_asked, answered)

    def _close_unless_asked(self, answered: RequestResponseCycle | None) -> None:
        if self.cycle is answered:
            self.transport.close()


class Server(uvicorn.Server):
    """Answers until SIGTERM or SIGINT; then what runs may finish, and nobody is listened to."""

    def __init__(
        self, app: ASGIApp, *, on_start: Callable[[], None], closing_seconds: int = CLOSING_SECONDS
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # Not what else is installed: what is tested is what runs.
                http=_Connection,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                # As many are accepted at once, before one of them can make room.
                backlog=_MAX_CONNECTIONS // 8,
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
