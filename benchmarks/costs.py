"""Measures the cost of work, in seconds and tokens, for any engine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class CountsTokens(Protocol):
    """An engine that counts the token positions it has fed so far."""

    @property
    def tokens_fed(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one engine in one stage: wall time, and token positions including padding."""

    documents: int = 0
    seconds: float = 0.0
    tokens_fed: int = 0
    candidates: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.documents + other.documents,
            self.seconds + other.seconds,
            self.tokens_fed + other.tokens_fed,
            self.candidates + other.candidates,
        )

    @property
    def tokens_per_candidate(self) -> float:
        return self.tokens_fed / max(self.candidates, 1)


def measured(engine: CountsTokens, work: Callable[[], Result]) -> tuple[Result, Cost]:
    tokens_before, began = engine.tokens_fed, time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    return result, Cost(seconds=seconds, tokens_fed=engine.tokens_fed - tokens_before)
