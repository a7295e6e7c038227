"""What a finetuning run has measured, and which of its checkpoints is the best."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

# Share of the perplexity before training; what other texts than those it is measured on cost.
_WITHOUT_A_WORD = 0.05
# The training ends where so many measurements in a row were no better than the best.
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class DevelopmentLoss:
    """Mean losses of the development texts, in nats per token.

    Attributes:
        with_calls: of the texts with their calls; tokens count as in training.
        without_calls: of the same texts without calls.
        calls: of the calls alone, up to their arrows; None where the texts have none.
    """

    with_calls: float
    without_calls: float
    calls: float | None = None

    @property
    def mean(self) -> float:
        """Of all tokens: both losses count alike."""
        return (self.with_calls + self.without_calls) / 2

    @property
    def perplexity(self) -> float:
        """Perplexity of the texts without calls."""
        # Above this the exponential overflows; no model that learns comes near.
        return math.exp(min(self.without_calls, 700.0))


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step: number of the step, from 1.
        loss: mean training loss of the step's batch before the step, in nats per token.
        tokens: tokens trained on so far, this step included.
        development_perplexity: of the texts without calls, after the step; None where it was not
            measured.
        development_loss: `DevelopmentLoss.mean` after the step, likewise.
        call_loss: `DevelopmentLoss.calls` after the step, likewise.
    """

    step: int
    loss: float
    learning_rate: float
    tokens: int
    development_perplexity: float | None
    development_loss: float | None = None
    call_loss: float | None = None


def candidates(history: Iterable[StepReport]) -> list[StepReport]:
    """Return the measurements that may be the best at the end of a run, the best so far first.

    The best is, of all measurements whose perplexity is at most 5 % above the lowest, the one with
    the lowest call loss: a model learns early when to call, and late what to ask. The tokens of
    calls are too few for the loss of all tokens to tell. Without calls that loss decides; of equal
    measurements the earliest is the best.

    A measurement can become the best while a lower perplexity may still exclude all better ones.
    """
    measured = [
        (step.development_perplexity, loss if step.call_loss is None else step.call_loss, step)
        for step in history
        if step.development_perplexity is not None and (loss := step.development_loss) is not None
    ]
    lowest = min((perplexity for perplexity, *_ in measured), default=math.inf)
    found: list[StepReport] = []
    lowest_found = math.inf
    for perplexity, _, step in sorted(measured, key=lambda each: (each[1], each[2].step)):
        if perplexity < lowest_found and not rises(lowest, perplexity):
            found.append(step)
            lowest_found = perplexity
    return found


@dataclass(slots=True)
class Progress:
    """What is known of a run besides weights and optimiser.

    Attributes:
        base: what was measured before the first step.
        seconds: time spent so far, interrupted runs included.
        trial: measured after the last step of the trial of a learning rate. It is not part of the
            history unless a measurement was due there.
    """

    base: DevelopmentLoss
    seconds: float = 0.0
    trial: DevelopmentLoss | None = None
    history: list[StepReport] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self.history[-1].step if self.history else 0

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.history[-1].tokens if self.history else 0

    @property
    def candidates(self) -> list[int]:
        """Steps whose checkpoints may be the best at the end, the best so far first."""
        return [] if self.has_failed else [each.step for each in candidates(self.history)]

    @property
    def has_failed(self) -> bool:
        """Whether the trial of the learning rate cost the model language."""
        return self.trial is not None and rises(self.base.perplexity, self.trial.perplexity)

    @property
    def best(self) -> StepReport:
        """The best checkpoint; the last step of a run is always measured."""
        return candidates(self.history)[0]

    def is_over(self, steps: int) -> bool:
        """Return whether no step is left, the trial failed, or three measurements were no better.

        A measurement is better if it was the best when it was made.
        """
        measured = [each for each in self.history if each.development_loss is not None]
        newest = range(len(measured), 0, -1)[:_PATIENCE]
        has_stalled = len(newest) == _PATIENCE and all(
            candidates(measured[:count])[0] != measured[count - 1] for count in newest
        )
        return self.has_failed or has_stalled or self.step >= steps


def rises(before: float, after: float) -> bool:
    """Whether a perplexity is more than 5 % above an earlier one."""
    return after / before - 1 > _WITHOUT_A_WORD


def perplexity_rise(before: float, after: float, *, of: str) -> str | None:
    """A sentence where perplexity rose by more than 5 %: by how much, and what to do.

    Args:
        before, after: perplexity before and after training, with calls disabled.
        of: what was measured, such as `the development texts`.

    Example:
        >>> perplexity_rise(20.0, 20.9, of="the development texts") is None
        True
    """
    if not rises(before, after):
        return None
    rise = after / before - 1
    return (
        f"Perplexity of {of} without calls rose by {rise:.0%}, from {before:.2f} to {after:.2f}: "
        "the model has lost language. Lower training.learning_rate (auto tries some), or "
        "training.epochs, or train on more texts, also such without calls (training.plain_share)."
    )
