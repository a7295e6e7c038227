"""What is counted of one request, for its line in the log and for the metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from uuid import uuid4

from toolformer.decoding.live_text import LiveEnd, LivePiece
from toolformer_server.metrics import Metrics

LEFT = 499
"""Status in the log of a request whose client left, as nginx has it."""


@dataclass
class RequestRecord:
    """Counted while a request is answered.

    Attributes:
        metrics: get what is counted, too.
        request_id: stands in the log and in the answer.
        has_left: whether the client left.
        further: fields of the log that only some requests have.
    """

    metrics: Metrics
    request_id: str = field(default_factory=lambda: uuid4().hex)
    has_left: bool = False
    further: dict[str, Any] = field(default_factory=dict)
    _started: float = field(default_factory=perf_counter)
    _prompt_tokens: int = 0
    _completion_tokens: int = 0
    _calls: int = 0
    _first_token_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Since the request arrived."""
        return perf_counter() - self._started

    @property
    def usage(self) -> dict[str, int]:
        """As OpenAI counts; the tokens of calls and results are among those of the completion."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
        }

    def count_prompt(self, tokens: int) -> None:
        """Count a prompt."""
        self._prompt_tokens += tokens

    def count(self, item: LivePiece | LiveEnd, tool_of: Callable[[str], str]) -> None:
        """Count what a batch gave.

        Args:
            item: the piece or end.
            tool_of: the tool that the text of a call names.
        """
        if isinstance(item, LiveEnd):
            return
        if self._first_token_seconds is None:
            self._first_token_seconds = self.seconds
            self.metrics.first_token_seconds.observe(self.seconds)
        tokens = sum(step.kind != "undone" for step in item.steps)
        self._completion_tokens += tokens
        self.metrics.tokens.inc(tokens)
        if item.call is not None:
            self._calls += 1
            tool = item.call.call.tool
            self.metrics.calls.labels(tool, "answered").inc()
            self.metrics.tool_seconds.labels(tool).observe(item.call.seconds)
        if item.undone is not None:
            self.metrics.calls.labels(tool_of(item.undone.text), "undone").inc()

    def fields(self, path: str, status: int) -> Mapping[str, Any]:
        """Its line in the log."""
        first = self._first_token_seconds
        return {
            "request_id": self.request_id,
            "path": path,
            "status": status,
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "calls": self._calls,
            "seconds": round(self.seconds, 4),
            "first_token_seconds": None if first is None else round(first, 4),
            **self.further,
        }
