"""Chooses the largest learning rate at which perplexity on texts without calls hardly rises.

The paper uses a fixed rate of 1e-5 (§4.1). Small models differ: some train well at ten times that
rate, while other models of the same size lose their language abilities within a few steps.
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
# Adapters start at zero and need about ten times the rate of full finetuning.
RATES_OF_ADAPTERS = (1e-3, 3e-4, 1e-4, 3e-5)
_TRIAL_SHARE = 1 / 5
# In a shorter trial, the warm-up matters more than the rate.
_MIN_TRIAL_STEPS = 4
# A trial has diverged if the development loss rises by more than this, in nats per token.
_MAX_LOSS_RISE = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """Results of a trial: perplexity of development texts without calls, and mean loss in nats."""

    learning_rate: float
    perplexity: float
    loss: float

    def __str__(self) -> str:
        return f"{self.learning_rate:.0e}: {self.perplexity:.2f}"


@dataclass(frozen=True, slots=True)
class DivergedTrial:
    learning_rate: float

    def __str__(self) -> str:
        return f"{self.learning_rate:.0e}: not finite"


@dataclass(frozen=True, slots=True)
class ChosenRate:
    job: TrainingJob
    steps: int
    base: DevelopmentLoss
    trials: tuple[Trial | DivergedTrial, ...]

    @property
    def summary(self) -> str:
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
    """Train at the largest rate at which perplexity on texts without calls hardly rises.

    The trial of a rate is the first fifth of its training, at least four steps. If the perplexity
    of the development texts without calls is then at most 5 % above the base model's, the training
    continues to its end. Otherwise it stops and the next rate is tried. If all trials fail, the
    model is trained again at the largest rate whose perplexity is at most 5 % above the lowest
    perplexity of a trial that did not diverge.
    The loss of texts with calls is ignored, because after a few steps it always favours larger
    rates, which learn the syntax of calls sooner.

    Rates are in descending order; the job's own rate is ignored. `report_trial` returns the
    function to call after every step of a trial, `report` is called after all other steps.
    """
    steps = steps_of_trial(job.steps)
    base: DevelopmentLoss | None = None
    trials: list[Trial | DivergedTrial] = []
    stable: list[Trial] = []
    for rate in rates:
        at_rate = replace(
            job,
            learning_rate=rate,
            state_folder=trial_folder(job, rate),
            base_loss=base,
            trial_steps=steps,
        )
        # Free the model of the previous trial.
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
        if trial.loss <= base.mean + _MAX_LOSS_RISE:
            stable.append(trial)
    if base is None or not stable:
        raise _diverged(trials, base, steps)
    lowest = min(trial.perplexity for trial in stable)
    rate = next(trial.learning_rate for trial in stable if not rises(lowest, trial.perplexity))
    restarted = replace(job, learning_rate=rate, base_loss=base)
    release_memory()
    return ChosenRate(restarted, steps, base, tuple(trials)), train_job(restarted, report)


def _by_phase(
    steps: int, report_trial: Callable[[StepReport], None], report: Callable[[StepReport], None]
) -> Callable[[StepReport], None]:
    def by_phase(step: StepReport) -> None:
        (report_trial if step.step <= steps else report)(step)

    return by_phase


def _diverged(
    trials: Sequence[Trial | DivergedTrial], base: DevelopmentLoss | None, steps: int
) -> TrainingError:
    versus_base = "" if base is None else f" (base model: {base.mean:.3f})"
    losses = "; ".join(
        f"{trial.learning_rate:.0e}: {trial.loss:.3f}" if isinstance(trial, Trial) else str(trial)
        for trial in trials
    )
    return TrainingError(
        f"Training diverges at every learning rate. Development loss after {steps} steps: "
        f"{losses}{versus_base}. Expected at least one rate at which it does not rise. Check the "
        "training texts, raise training.batch_size, or set training.learning_rate to a number. "
        "No model was stored."
    )


def trial_folder(job: TrainingJob, rate: float) -> Path:
    return job.state_folder / f"{rate:.0e}"


def steps_of_trial(steps: int) -> int:
    return min(steps, max(_MIN_TRIAL_STEPS, math.ceil(steps * _TRIAL_SHARE)))
