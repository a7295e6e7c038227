"""Which learning rate suits a model and its texts: three of four are tried, for a few steps each.

The paper has one rate for its model (1e-5, §4.1); ten times that suits a small one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from toolformer.errors import DivergedError, TrainingError
from toolformer.training.trainer import TrainingJob
from toolformer.training.training_processes import train_job
from toolformer.training.training_state import DevelopmentLoss, StepReport

RATES = (1e-5, 3e-5, 1e-4, 3e-4)
# Adapters begin at zero, and take about ten times the rate of all weights.
RATES_OF_ADAPTERS = (1e-4, 3e-4, 1e-3, 3e-3)
_SHARE_OF_STEPS = 1 / 20
# Behind fewer, a rate looks worse the larger it is.
_FEWEST_STEPS = 4
# So that measuring a trial costs at most a third of its steps.
_DEVELOPMENT_TEXTS = 1 / 2
# Nats above the base model's, from which on a loss is that of a model that is being lost.
_DIVERGED = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """A rate that was tried.

    Attributes:
        loss: behind the trial's last step; None where a loss was not finite.
    """

    learning_rate: float
    loss: DevelopmentLoss | None

    def __str__(self) -> str:
        if self.loss is None:
            return f"{self.learning_rate:.0e}: not finite"
        return (
            f"{self.learning_rate:.0e}: {self.loss.mean:.3f} "
            f"(perplexity without calls {self.loss.perplexity:.2f})"
        )


@dataclass(frozen=True, slots=True)
class ChosenRate:
    """What was tried, and the rate that did best.

    Attributes:
        learning_rate: the rate.
        steps: of each trial.
        texts: development texts that were measured.
        base: losses of the base model.
        trials: in the order of their rates.
    """

    learning_rate: float
    steps: int
    texts: int
    base: DevelopmentLoss
    trials: tuple[Trial, ...]

    @property
    def summary(self) -> str:
        """What was chosen and why, in a line."""
        return (
            f"learning rate {self.learning_rate:.0e}, by the development loss after {self.steps} "
            f"steps, in nats per token: {'; '.join(map(str, self.trials))}; "
            f"base model: {self.base.mean:.3f} ({self.base.perplexity:.2f})"
        )


def measured_learning_rate(job: TrainingJob, *, report: Callable[[int, int], None]) -> ChosenRate:
    """Try learning rates, each in a short training of its own from the base model.

    Each trial has a twentieth of the steps, its warm-up included, or four if those are more, and is
    measured behind them on half as many development texts as it trained on, at most. Tried are
    3e-5 and 1e-4, and then 1e-5 or 3e-4 beside the better of them; of adapters ten times these. The
    smallest development loss wins, of equal ones that of the smaller rate. So all trials together
    feed and measure less than a quarter of what a training of at least 80 steps does. A killed one
    goes on.

    Args:
        job: the training, whose rate is not used. The trials have folders in its folder.
        report: called with the steps done so far, and how many there are.

    Raises:
        TrainingError: every rate diverges: a loss is not finite, or more than 0.1 nats above the
            base model's.
        ToolformerError: as `finetune` does.
    """
    parameters = job.parameters
    steps = max(_FEWEST_STEPS, int(parameters.steps * _SHARE_OF_STEPS))
    texts = max(1, int(steps * parameters.batch_size * _DEVELOPMENT_TEXTS))
    rates = RATES if parameters.lora_rank is None else RATES_OF_ADAPTERS
    development = job.development.at_most(texts)
    trial = replace(
        job,
        development=development,
        parameters=replace(parameters, steps=steps, evaluate_every=steps),
        keeps_best=False,
    )
    base_loss: DevelopmentLoss | None = None
    tried: list[Trial] = []

    def loss_at(rate: float) -> float:
        nonlocal base_loss
        before = len(tried) * steps
        of_rate = replace(
            trial,
            parameters=replace(trial.parameters, learning_rate=rate),
            state_folder=job.state_folder / f"{rate:.0e}",
            base_loss=base_loss,
        )

        def told(step: StepReport) -> None:
            report(before + step.step, 3 * steps)

        loss = None
        try:
            progress = train_job(of_rate, told)
            base_loss, loss = progress.base, progress.best
        except DivergedError:
            pass
        tried.append(Trial(rate, loss))
        return math.inf if loss is None else loss.mean

    chosen = best_rate(rates, loss_at)
    trials = tuple(sorted(tried, key=lambda trial: trial.learning_rate))
    best = next(trial.loss for trial in trials if trial.learning_rate == chosen)
    if base_loss is None or best is None or best.mean > base_loss.mean + _DIVERGED:
        of_base = "" if base_loss is None else f", where the base model has {base_loss.mean:.3f}"
        raise TrainingError(
            f"Training diverges at every learning rate: behind {steps} steps the development loss "
            f"is {'; '.join(map(str, trials))}{of_base}; expected a rate at which it falls. Look "
            "at the texts, raise training.batch_size, or set training.learning_rate yourself. No "
            "model was stored."
        )
    return ChosenRate(chosen, steps, len(development.with_calls), base_loss, trials)


def best_rate(rates: Sequence[float], loss_at: Callable[[float], float]) -> float:
    """The rate of the smallest loss, of the two in the middle and the one beside the better.

    Args:
        rates: four, in rising order.
        loss_at: the loss at a rate; infinite where there is none.

    Example:
        >>> best_rate([1, 3, 10, 30], {3: 2.0, 10: 1.5, 30: 1.6}.__getitem__)
        10
    """
    smallest, small, large, largest = rates
    losses = {small: loss_at(small), large: loss_at(large)}
    beside = largest if losses[large] < losses[small] else smallest
    losses[beside] = loss_at(beside)
    return min(losses, key=lambda rate: (losses[rate], rate))
