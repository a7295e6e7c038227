"""Choice of the learning rate: the largest that does not cost the model language.

The paper has one rate for its model (1e-5, §4.1). Ten times that suits a small one, and another of
its size forgets at that rate, in a few steps, what it knew.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolformer.errors import DivergedError, TrainingError
from toolformer.training.progress import DevelopmentLoss, StepReport, rises
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_processes import train_job

RATES = (1e-4, 3e-5, 1e-5, 3e-6)
# Adapters begin at zero, and take about ten times the rate of all weights.
RATES_OF_ADAPTERS = (1e-3, 3e-4, 1e-4, 3e-5)
_SHARE_OF_STEPS = 1 / 5
# After fewer, the warm-up counts for more than the rate.
_FEWEST_STEPS = 4
# Nats by which the development loss of a diverged trial is above the base model's.
_DIVERGED = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """A rate that was tried.

    Attributes:
        perplexity: of the development texts without calls, after the trial's last step.
        loss: development loss there.
    """

    learning_rate: float
    perplexity: float
    loss: float

    def __str__(self) -> str:
        return f"{self.learning_rate:.0e}: {self.perplexity:.2f}"


@dataclass(frozen=True, slots=True)
class DivergedTrial:
    """A rate at which a loss was not finite."""

    learning_rate: float

    def __str__(self) -> str:
        return f"{self.learning_rate:.0e}: not finite"


@dataclass(frozen=True, slots=True)
class ChosenRate:
    """The rates that were tried, and the training that goes on.

    Attributes:
        job: the training at the chosen rate; its state has the steps of the trial.
        steps: of each trial.
        trials: in falling order of their rates.
    """

    job: TrainingJob
    steps: int
    base: DevelopmentLoss
    trials: tuple[Trial | DivergedTrial, ...]

    @property
    def summary(self) -> str:
        """What was chosen and why, in a line."""
        return (
            f"learning rate {self.job.learning_rate:.0e}, by the perplexity of the "
            f"development texts without calls after {self.steps} steps: "
            f"{'; '.join(map(str, self.trials))}; base model: {self.base.perplexity:.2f}"
        )


def chosen_rate(
    job: TrainingJob,
    rates: Sequence[float],
    report: Callable[[float], Callable[[StepReport], None]],
) -> ChosenRate:
    """Begin the training at falling rates until one costs the model no language.

    Each rate is trained for a fifth of the steps, or four if those are more. The first rate wins
    whose perplexity of the development texts without calls is then at most 5 % above the base
    model's. If there is none, the largest rate wins whose perplexity is at most 5 % above the
    lowest. The training goes on from the trial of its rate, so only the other trials cost time. A
    killed run goes on.

    The texts with their calls do not count: after a few steps a larger rate has always learnt more
    of how calls are written.

    Args:
        job: the training, whose rate is not used. Each rate has a folder in its state's folder.
        rates: two or more, in falling order.
        report: called with each rate that is tried; what it returns is called after every step, and
            first for the steps of an interrupted run.

    Raises:
        TrainingError: every rate diverges: a loss is not finite, or the development loss is more
            than 0.1 nats above the base model's.
        ToolformerError: as `finetune` does.
    """
    steps = steps_of_trial(job.steps)
    base: DevelopmentLoss | None = None
    trials: list[Trial | DivergedTrial] = []
    sound: list[Trial] = []
    for rate in rates:
        trial_job = replace(_at_rate(job, rate), base_loss=base, stops_at=steps)
        try:
            progress = train_job(trial_job, report(rate))
        except DivergedError:
            trials.append(DivergedTrial(rate))
            continue
        base, measured = progress.base, progress.trial
        # The last step of a trial is measured.
        assert measured is not None
        trial = Trial(rate, measured.perplexity, measured.mean)
        trials.append(trial)
        if trial.loss > base.mean + _DIVERGED:
            continue
        sound.append(trial)
        if not rises(base.perplexity, trial.perplexity):
            break
    if base is None or not sound:
        of_base = "" if base is None else f", where the base model has {base.mean:.3f}"
        losses = "; ".join(
            f"{trial.learning_rate:.0e}: {trial.loss:.3f}"
            if isinstance(trial, Trial)
            else str(trial)
            for trial in trials
        )
        raise TrainingError(
            f"Training diverges at every learning rate: after {steps} steps the development loss "
            f"is {losses}{of_base}; expected a rate at which it falls. Look at the texts, raise "
            "training.batch_size, or set training.learning_rate yourself. No model was stored."
        )
    lowest = min(trial.perplexity for trial in sound)
    limit_of = lowest if rises(base.perplexity, lowest) else base.perplexity
    rate = next(trial.learning_rate for trial in sound if not rises(limit_of, trial.perplexity))
    return ChosenRate(_at_rate(job, rate), steps, base, tuple(trials))


def _at_rate(job: TrainingJob, rate: float) -> TrainingJob:
    return replace(job, learning_rate=rate, state_folder=state_folder(job, rate))


def steps_of_trial(steps: int) -> int:
    """How many of the steps of a training a rate is tried for."""
    return min(steps, max(_FEWEST_STEPS, math.ceil(steps * _SHARE_OF_STEPS)))


def state_folder(job: TrainingJob, rate: float) -> Path:
    """Where the state of the training at one of the rates lies."""
    return job.state_folder / f"{rate:.0e}"
