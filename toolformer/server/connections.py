"""Connections that end when they have no request that is being answered for a while.

Whoever connects holds a file descriptor before any key is asked for, and one who does not read an
answer holds that, too. While an answer is made nothing is ended.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_SECONDS = 10.0
"""For the head of a request, and between requests."""


class Connection(H11Protocol):
    """A connection that ends when it has no request for a while."""

    _idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wait for a request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
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
