"""The metrics of a server, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The metrics of one server.

    Args:
        active: how many texts are decoded now.
        waiting: how many wait for a place.
    """

    def __init__(self, active: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "toolformer_requests", "Requests.", ["path", "status"], registry=registry
        )
        self.tokens = Counter(
            "toolformer_tokens_decoded", "Tokens of texts and calls.", registry=registry
        )
        self.calls = Counter(
            "toolformer_calls", "Calls, answered or undone.", ["tool", "outcome"], registry=registry
        )
        self.tool_seconds = Histogram(
            "toolformer_tool_seconds", "Time of answered calls.", ["tool"], registry=registry
        )
        self.first_token_seconds = Histogram(
            "toolformer_first_token_seconds", "From request to first token.", registry=registry
        )
        for name, description, count in (
            ("active", "Texts that are decoded.", active),
            ("waiting", "Texts that wait for a place.", waiting),
        ):
            Gauge(f"toolformer_{name}", description, registry=registry).set_function(count)

    def text(self) -> bytes:
        """All metrics in Prometheus's format."""
        return generate_latest(self._registry)
