"""What a piece of work cost: seconds, tokens, memory. Does not know which engine did it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar

from benchmarks.machine import peak_memory

Result = TypeVar("Result")


class CountsTokens(Protocol):
    """Something that counts the token positions it feeds."""

    tokens_fed: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of one engine in one stage; they add up.

    Attributes:
        documents: on how many.
        seconds: wall time.
        tokens_fed: token positions fed through the body, padding included.
        candidates: found by sampling, or scored.
        needed_tokens: of the fed tokens those that are not padding; scoring only.
        logit_rows: output-layer rows that a loss was read from; scoring only.
        peak_gib: largest resident memory of the process meanwhile, all loaded models included.
    """

    documents: int = 0
    seconds: float = 0.0
    tokens_fed: int = 0
    candidates: int = 0
    needed_tokens: int = 0
    logit_rows: int = 0
    peak_gib: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        sums = {
            name: value + getattr(other, name)
            for name, value in asdict(self).items()
            if name != "peak_gib"
        }
        return Cost(**sums, peak_gib=max(self.peak_gib, other.peak_gib))

    def scaled(self, factor: float) -> "Cost":
        """The cost of so many times the work on the same documents."""
        return replace(
            self,
            seconds=self.seconds * factor,
            tokens_fed=round(self.tokens_fed * factor),
            candidates=round(self.candidates * factor),
            needed_tokens=round(self.needed_tokens * factor),
            logit_rows=round(self.logit_rows * factor),
        )

    @property
    def tokens_per_candidate(self) -> float:
        """Token positions fed for one candidate."""
        return self.tokens_fed / max(self.candidates, 1)

    def multiplications(self, body_parameters: int, output_parameters: int) -> float:
        """Floating-point operations of the matrix products with weights that were needed.

        Padding, attention products and output-layer rows that nothing reads are not counted.
        """
        return 2.0 * (body_parameters * self.needed_tokens + output_parameters * self.logit_rows)


def measured(engine: CountsTokens, work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Do a piece of work, and what it cost in seconds, tokens and memory."""
    tokens_before = engine.tokens_fed
    with peak_memory() as peak:
        began = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
    tokens = engine.tokens_fed - tokens_before
    return result, Cost(seconds=seconds, tokens_fed=tokens, peak_gib=peak[0])
