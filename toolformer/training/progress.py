"""Records the measurements of a finetuning run and selects its best checkpoint."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

# Maximum relative rise of the perplexity without calls; above it, language modelling has suffered.
_MAX_PERPLEXITY_RISE = 0.05
# Training stops early after this many consecutive measurements without a new best.
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class DevelopmentLoss:
    """Mean losses of the development texts, in nats per token.

    `with_calls` weighs tokens as in training. `calls` covers only calls up to their arrows; it is
    None if no text has a call.
    """

    with_calls: float
    without_calls: float
    calls: float | None = None

    @property
    def mean(self) -> float:
        return (self.with_calls + self.without_calls) / 2

    @property
    def perplexity(self) -> float:
        """Perplexity of the texts without calls."""
        # `exp` overflows above 709. No useful model comes near.
        return math.exp(min(self.without_calls, 700.0))


@dataclass(frozen=True, slots=True)
class StepReport:
    """Result of one optimiser step.

    The loss is that of the batch before the step, in nats per token. `tokens` counts all tokens
    trained on so far. Development values are from after the step; they are None if none were
    measured.
    """

    step: int
    loss: float
    learning_rate: float
    tokens: int
    development_perplexity: float | None
    development_loss: float | None = None
    call_loss: float | None = None


def candidates(history: Iterable[StepReport]) -> list[StepReport]:
    """Return the measurements that may still turn out best when the run ends, best first.

    The best measurement has the lowest call loss among those whose perplexity is at most 5 % above
    the lowest. The call loss decides because a model learns late what to ask, and calls have too
    few tokens to influence the loss of all tokens. If no text has a call, the loss of all tokens
    decides. The earliest measurement wins a tie. A later, lower perplexity can still exclude the
    best measurement so far.
    """
    measured = [
        (step.development_perplexity, loss if step.call_loss is None else step.call_loss, step)
        for step in history
        if step.development_perplexity is not None and (loss := step.development_loss) is not None
    ]
    lowest = min((perplexity for perplexity, *_ in measured), default=math.inf)
    best_first: list[StepReport] = []
    lowest_so_far = math.inf
    for perplexity, _, step in sorted(measured, key=lambda each: (each[1], each[2].step)):
        if perplexity < lowest_so_far and not rises(lowest, perplexity):
            best_first.append(step)
            lowest_so_far = perplexity
    return best_first


@dataclass(slots=True)
class Progress:
    """State of a run except weights and moments; `seconds` includes interrupted runs."""

    base: DevelopmentLoss
    seconds: float = 0.0
    trial: DevelopmentLoss | None = None
    history: list[StepReport] = field(default_factory=list)

    @property
    def step(self) -> int:
        return self.history[-1].step if self.history else 0

    @property
    def tokens(self) -> int:
        return self.history[-1].tokens if self.history else 0

    @property
    def candidates(self) -> list[int]:
        """Steps whose checkpoints may still turn out best when the run ends, best first."""
        return [] if self.has_failed else [each.step for each in candidates(self.history)]

    @property
    def has_failed(self) -> bool:
        """Whether perplexity rose by more than 5 % during the trial of the learning rate."""
        return self.trial is not None and rises(self.base.perplexity, self.trial.perplexity)

    @property
    def best(self) -> StepReport:
        return candidates(self.history)[0]

    def is_over(self, steps: int) -> bool:
        """Return whether all steps are done, the trial failed, or the run has stalled.

        A run has stalled if none of the last three measurements was the best when it was made.
        """
        measured = [each for each in self.history if each.development_loss is not None]
        newest = range(len(measured), 0, -1)[:_PATIENCE]
        has_stalled = len(newest) == _PATIENCE and all(
            candidates(measured[:count])[0] != measured[count - 1] for count in newest
        )
        return self.has_failed or has_stalled or self.step >= steps


def rises(before: float, after: float) -> bool:
    """Return whether a perplexity rose by more than 5 %."""
    return after / before - 1 > _MAX_PERPLEXITY_RISE


def perplexity_warning(before: float, after: float, *, of: str) -> str | None:
    """Return a warning if perplexity without calls rose by more than 5 %, else None.

    Example:
        >>> perplexity_warning(20.0, 20.9, of="the development texts") is None
        True
    """
    if not rises(before, after):
        return None
    rise = after / before - 1
    return (
        f"Perplexity of {of} without calls rose by {rise:.0%}, from {before:.2f} to {after:.2f}: "
        "the model has become worse at language modelling. Lower training.learning_rate (`auto` "
        "tries several) or training.epochs, or train on more texts, including texts without calls "
        "(training.plain_share)."
    )
