"""Measures the cost of a stage, in tokens and seconds, over all processes that worked on it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolformer.forward.checkpoint import COST, Checkpoint

if TYPE_CHECKING:
    from toolformer.forward.model import Model


@dataclass(frozen=True, slots=True)
class StageCost:
    """Cost of one pass over the calls of one tool; `candidates` is their number.

    `tokens_fed` includes padding. Work that a killed process had not stored is not counted.
    """

    stage: str
    candidates: int
    tokens_fed: int
    seconds: float
    model: str | None
    precision: str | None


def together(costs: Sequence[StageCost], *, candidates: int) -> StageCost:
    """Add the costs of passes over the same calls; `candidates` counts each call once."""
    return replace(
        costs[0],
        candidates=candidates,
        tokens_fed=sum(cost.tokens_fed for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
    )


class CostMeter:
    """Measures cost from its creation on, plus the cost that killed processes stored.

    The cost is stored after each step of the checkpoint.
    """

    def __init__(self, model: "Model | None" = None, *, checkpoint: Checkpoint):
        self._model = model
        self._began = time.monotonic()
        self._fed_before = model.tokens_fed if model else 0
        self._spent_before: list[float] = next(iter(checkpoint.stored(COST)), [0, 0.0])
        self._checkpoint = checkpoint
        checkpoint.after_step = self.keep

    def keep(self) -> None:
        """Store the cost so far, for a process that resumes the work."""
        self._checkpoint.store(COST, self._spent())

    def cost(self, stage: str, *, candidates: int) -> StageCost:
        model = self._model
        tokens_fed, seconds = self._spent()
        return StageCost(
            stage,
            candidates,
            tokens_fed=int(tokens_fed),
            seconds=seconds,
            model=model.name if model else None,
            precision=model.precision if model else None,
        )

    def _spent(self) -> tuple[float, float]:
        fed_before, seconds_before = self._spent_before
        fed = self._model.tokens_fed - self._fed_before if self._model else 0
        return fed_before + fed, seconds_before + time.monotonic() - self._began
