"""What a piece of work cost: seconds and tokens. Does not know which engine did it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class CountsTokens(Protocol):
    """Something that counts the token positions it feeds."""

    @property
    def tokens_fed(self) -> int:
        """So far."""
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of one engine in one stage; they add up.

    Attributes:
        documents: on how many.
        seconds: wall time.
        tokens_fed: token positions fed through the body, padding included.
        candidates: found by sampling, or scored.
    """

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
        """Token positions fed for one candidate."""
        return self.tokens_fed / max(self.candidates, 1)


def measured(engine: CountsTokens, work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Do a piece of work, and what it cost in seconds and tokens."""
    tokens_before, began = engine.tokens_fed, time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    return result, Cost(seconds=seconds, tokens_fed=engine.tokens_fed - tokens_before)
