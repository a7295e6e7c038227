"""What a stage costs: tokens fed to a model, and seconds, over all processes that worked on it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolformer.forward.checkpoint import COST, Checkpoint

if TYPE_CHECKING:
    from toolformer.forward.model import Model


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one pass over the calls of one tool.

    Attributes:
        stage: what was done, such as `scoring`.
        candidates: calls that it was done with.
        tokens_fed: padding included.
        seconds: seconds of work; what a killed process had begun and not stored is in neither.
    """

    stage: str
    candidates: int
    tokens_fed: int
    seconds: float
    model: str | None
    precision: str | None


def together(costs: Sequence[StageCost], *, candidates: int) -> StageCost:
    """The cost of passes over some of the same calls, under the name and the model of the first.

    Args:
        costs: at least one.
        candidates: calls, each counted once.
    """
    return replace(
        costs[0],
        candidates=candidates,
        tokens_fed=sum(cost.tokens_fed for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
    )


class CostMeter:
    """Measures from its making on, and adds what killed processes had spent on the same.

    Args:
        model: whose tokens are counted, if any.
        checkpoint: checkpoint of the work; keeps the cost after each of its steps.
    """

    def __init__(self, model: "Model | None" = None, *, checkpoint: Checkpoint):
        self._model = model
        self._began = time.monotonic()
        self._fed_before = model.tokens_fed if model else 0
        self._spent_before: list[float] = next(iter(checkpoint.stored(COST)), [0, 0.0])
        self._checkpoint = checkpoint
        checkpoint.after_step = self.keep

    def keep(self) -> None:
        """Store the cost so far, for the process that goes on after a kill."""
        self._checkpoint.store(COST, self._spent())

    def cost(self, stage: str, *, candidates: int) -> StageCost:
        """The cost so far."""
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
