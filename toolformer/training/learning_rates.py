"""Choice of the learning rate: the largest that does not cost the model language.

The paper has one rate for its model (1e-5, §4.1). Ten times that suits a small one, and another of
its size forgets at that rate, in a few steps, what it knew.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolformer.errors import DivergedError, TrainingError
from toolformer.forward.memory import release_memory
from toolformer.training.progress import DevelopmentLoss, Progress, StepReport, rises
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_processes import train_job

RATES = (1e-4, 3e-5, 1e-5, 3e-6)
# Adapters begin at zero, and take about ten times the rate of all weights.
RATES_OF_ADAPTERS = (1e-3, 3e-4, 1e-4, 3e-5)
_SHARE_OF_STEPS = 1 / 5
# After fewer, the warm-up counts for more than the rate.
_FEWEST_STEPS = 4
# A trial has diverged if it raises the development loss by more than this, in nats per token.
_DIVERGED = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of trying a learning rate.

    Attributes:
        perplexity: of the development texts without calls, after the trial's last step.
        loss: development loss after that step.
    """

    learning_rate: float
    perplexity: float
    loss: float

    def __str__(self) -> str:
        return f"{self.learning_rate:.0e}: {self.perplexity:.2f}"


@dataclass(frozen=True, slots=True)
class DivergedTrial:
    """A learning rate at which a loss became infinite or NaN."""

    learning_rate: float

    def __str__(self) -> str:
        return f"{self.learning_rate:.0e}: not finite"


@dataclass(frozen=True, slots=True)
class ChosenRate:
    """The learning rates that were tried, and the one that was taken.

    Attributes:
        job: the training at the chosen rate, which has ended.
        steps: number of steps of each trial.
        trials: in falling order of their rates.
    """

    job: TrainingJob
    steps: int
    base: DevelopmentLoss
    trials: tuple[Trial | DivergedTrial, ...]

    @property
    def summary(self) -> str:
        """The choice and its reason, in one line."""
        return (
            f"learning rate {self.job.learning_rate:.0e}, by the perplexity of the "
            f"development texts without calls after {self.steps} steps: "
            f"{'; '.join(map(str, self.trials))}; base model: {self.base.perplexity:.2f}"
        )


def train_at_chosen_rate(
    job: TrainingJob,
    rates: Sequence[float],
    report: Callable[[StepReport], None],
    report_trial: Callable[[float], Callable[[StepReport], None]],
) -> tuple[ChosenRate, Progress]:
    """Train at the largest of some learning rates that costs the model no language.

    The first fifth of a training, at least four steps, is the trial of its rate. If the perplexity
    of the development texts without calls is then at most 5 % above the base model's, the training
    goes on to its end. Otherwise it stops, and the next rate is tried. If all trials fail, the
    model is trained anew at the largest rate whose perplexity is at most 5 % above the lowest.

    The texts with calls do not decide: after a few steps a larger rate has always learnt more of
    how calls are written.

    Args:
        job: the training, whose rate is not used. Each trial has a folder in its state folder.
        rates: two or more, in falling order.
        report: called after every step behind a trial.
        report_trial: called with each rate that is tried. Its result is called after every step of
            the trial, and first for the steps of an interrupted run.

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
        at_rate = replace(
            job,
            learning_rate=rate,
            state_folder=trial_folder(job, rate),
            base_loss=base,
            trial_steps=steps,
        )
        # The model of the trial before is not in use any more.
        release_memory()
        try:
            progress = train_job(at_rate, _by_phase(steps, report_trial(rate), report))
        except DivergedError:
            trials.append(DivergedTrial(rate))
            continue
        base, measured = progress.base, progress.trial
        assert measured is not None
        trial = Trial(rate, measured.perplexity, measured.mean)
        trials.append(trial)
        if not progress.has_failed:
            return ChosenRate(at_rate, steps, base, tuple(trials)), progress
        if trial.loss <= base.mean + _DIVERGED:
            sound.append(trial)
    if base is None or not sound:
        raise _diverged(trials, base, steps)
    lowest = min(trial.perplexity for trial in sound)
    rate = next(trial.learning_rate for trial in sound if not rises(lowest, trial.perplexity))
    anew = replace(job, learning_rate=rate, base_loss=base)
    release_memory()
    return ChosenRate(anew, steps, base, tuple(trials)), train_job(anew, report)


def _by_phase(
    steps: int, report_trial: Callable[[StepReport], None], report: Callable[[StepReport], None]
) -> Callable[[StepReport], None]:
    def by_phase(step: StepReport) -> None:
        (report_trial if step.step <= steps else report)(step)

    return by_phase


def _diverged(
    trials: Sequence[Trial | DivergedTrial], base: DevelopmentLoss | None, steps: int
) -> TrainingError:
    of_base = "" if base is None else f", where the base model has {base.mean:.3f}"
    losses = "; ".join(
        f"{trial.learning_rate:.0e}: {trial.loss:.3f}" if isinstance(trial, Trial) else str(trial)
        for trial in trials
    )
    return TrainingError(
        f"Training diverges at every learning rate: after {steps} steps the development loss "
        f"is {losses}{of_base}; expected a rate at which it falls. Look at the texts, raise "
        "training.batch_size, or set training.learning_rate yourself. No model was stored."
    )


def trial_folder(job: TrainingJob, rate: float) -> Path:
    """Return where the state of a training at one of the rates lies."""
    return job.state_folder / f"{rate:.0e}"


def steps_of_trial(steps: int) -> int:
    """Return how many of the steps of a training are the trial of its learning rate."""
    return min(steps, max(_FEWEST_STEPS, math.ceil(steps * _SHARE_OF_STEPS)))
