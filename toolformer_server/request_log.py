"""The log of a server: one JSON object a line, on standard error."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

REQUESTS = logging.getLogger("toolformer_server.requests")


class JsonLines(logging.Formatter):
    """A record as one line; `extra={"fields": {…}}` of a logging call become fields."""

    def format(self, record: logging.LogRecord) -> str:
        """As JSON."""
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
