"""What a stage costs: tokens fed to a model, and seconds. Does not store it."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one pass over the calls of one tool.

    Attributes:
        stage: what was done, such as `scoring`.
        candidates: calls that it was done with.
        tokens_fed: padding included; only those of this process where the stage was resumed.
        seconds: likewise.
        model: the model it used, if any.
        precision: of that model.
    """

    stage: str
    candidates: int
    tokens_fed: int
    seconds: float
    model: str | None
    precision: str | None


class CostMeter:
    """Measures from its making on.

    Args:
        models: whose tokens are counted; the last one gives its name.
    """

    def __init__(self, *models: "LanguageModel"):
        self._models = models
        self._began = time.monotonic()
        self._fed_before = self._tokens_fed()

    def cost(self, stage: str, *, candidates: int) -> StageCost:
        """The cost so far."""
        model = self._models[-1] if self._models else None
        return StageCost(
            stage,
            candidates,
            tokens_fed=self._tokens_fed() - self._fed_before,
            seconds=time.monotonic() - self._began,
            model=model and model.name,
            precision=model and model.precision,
        )

    def _tokens_fed(self) -> int:
        return sum(model.tokens_fed for model in self._models)
