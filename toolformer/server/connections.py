"""Open connections: so many, and so long without a request that is being answered.

Whoever connects holds a file descriptor before any key is asked for. So a connection is ended when
it has no request that is being answered for a few seconds, even if the client has not yet read a
complete answer, and at once when another needs its place. While an answer is made nothing is ended.
"""

import asyncio
import logging
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

BACKLOG = 64
"""So many are accepted before the first of them is counted."""
IDLE_SECONDS = 10.0
"""For the head of a request, and between requests."""
_MOST_CONNECTIONS = 512
_SECONDS_BETWEEN_WARNINGS = 60.0
_LOGGER = logging.getLogger(__name__)


class Connection(H11Protocol):
    """A connection that ends when it has no request for a while, or when its place is needed."""

    _idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a place, that of the one who has been idle for longest where none is free."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > _most_connections():
            end_longest_idle(self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self._end_idle()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Begin with the requests that are whole."""
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    @property
    def idle_until(self) -> float | None:
        """When it is ended, in the seconds of the loop; None while it is answered."""
        return None if self._idle is None else self._idle.when()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_idle()
        elif self._idle is None:
            # Not `close`, which waits for a client that does not read.
            self._idle = self.loop.call_later(IDLE_SECONDS, self.transport.abort)

    def _end_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


def end_longest_idle(connections: Any) -> None:
    """End the connection that has waited for a request for longest; none where all are answered."""
    idle = [connection for connection in connections if connection.idle_until is not None]
    if idle:
        min(idle, key=lambda connection: connection.idle_until).transport.abort()


def warn_seldom(connections: Any) -> Any:
    """A handler of the loop's errors for a process that has no file descriptor left.

    The loop tries to accept again every second, and tells of each connection that it could not
    take: thousands of lines, in which nothing else is found.
    """
    next_warning = 0.0

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal next_warning
        if "_start_serving" in context.get("message", "") and isinstance(
            context.get("exception"), ValueError
        ):
            # The server ends, and has closed the socket at which it would be tried again.
            return
        if "out of system resource" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        end_longest_idle(connections)
        if loop.time() >= next_warning:
            next_warning = loop.time() + _SECONDS_BETWEEN_WARNINGS
            _LOGGER.warning(
                "No connection can be accepted: %s. It is tried again every second. Allow the "
                "process more open files (`ulimit -n`).",
                context["exception"],
            )

    return handle


def _most_connections() -> int:
    """Half of the process's file descriptors are left for the model, its tools and their files."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, descriptors // 2)
