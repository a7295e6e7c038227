"""The log of a server, a line of JSON for each request, and what is counted for it."""

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import uuid4

from toolformer.decoding.live_text import LivePiece

REQUESTS = logging.getLogger("toolformer.server.requests")
LEFT = 499
"""Status in the log of a request whose client left, as nginx has it."""


class JsonLines(logging.Formatter):
    """A record as one line; `extra={"fields": {…}}` of a logging call become fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry as JSON."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def log_to_standard_error() -> None:
    """Write requests, and what other modules warn of."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    REQUESTS.setLevel(logging.INFO)


@dataclass
class RequestRecord:
    """What is counted while a request is answered, for its line in the log.

    Attributes:
        further: fields of the log that only some requests have.
    """

    request_id: str = field(default_factory=lambda: uuid4().hex)
    has_left: bool = False
    further: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    _started: float = field(default_factory=perf_counter)
    _completion_tokens: int = 0
    _calls: int = 0
    _first_token_seconds: float | None = None

    @property
    def _seconds(self) -> float:
        return round(perf_counter() - self._started, 4)

    @property
    def usage(self) -> dict[str, int]:
        """Token counts as in OpenAI's API; those of calls and results count as completion."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self.prompt_tokens + self._completion_tokens,
        }

    def count(self, piece: LivePiece) -> None:
        """Count what a batch gave."""
        if self._first_token_seconds is None:
            self._first_token_seconds = self._seconds
        self._completion_tokens += sum(step.kind != "undone" for step in piece.steps)
        self._calls += piece.call is not None

    def write_down(self, path: str, status: int) -> None:
        """Write its line in the log."""
        line = {
            "request_id": self.request_id,
            "path": path,
            "status": status,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "calls": self._calls,
            "seconds": self._seconds,
            "first_token_seconds": self._first_token_seconds,
            **self.further,
        }
        REQUESTS.info("request", extra={"fields": line})
