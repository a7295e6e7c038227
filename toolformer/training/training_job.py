"""A finetuning run that has not begun."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from toolformer.base.digests import hex_digest
from toolformer.errors import TrainingError
from toolformer.settings.training_sections import TrainingSettings
from toolformer.training.low_rank import check_installed
from toolformer.training.progress import DevelopmentLoss
from toolformer.training.training_loss import total_weight
from toolformer.training.training_rows import DevelopmentRows, TrainingRow

# The settings that a training follows, as its record lists them: their order too is part of what a
# model is.
_RECORDED = (
    *("learning_rate", "warmup_share", "batch_size", "steps", "micro_batch_tokens", "evaluations"),
    *("seed", "clip_norm", "precision", "save_every", "loss_weights", "gradient_checkpointing"),
    *("processes", "lora_rank"),
)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A run that can begin, as each of several processes is given it; empty rows are left out.

    Attributes:
        base: directory of the model to begin with.
        settings: how to train; the three values below stand in place of its own.
        steps: number of optimiser steps.
        learning_rate: after the warm-up; constant from there on.
        precision: precision of the computation, `float32` or `bfloat16` (autocast). Weights that
            are trained are float32; those beside adapters have this precision.
        bos_token: text of the token in front of every row; None: the one used in scoring.
        device: `cpu` or a CUDA device; several processes take one CUDA device each, from the first
            on.
        state_folder: where the state of the run lies.
        fingerprint: fingerprint of base, parameters and what the rows were made from; stands in the
            `toolformer.json` of the model. A state of another one, or of other rows, is not gone on
            with.
        base_loss: what the base model was measured to have; None: it is measured first.
        trial_steps: number of steps after which the training ends if the perplexity without calls
            is more than 5 % above the base model's; None for a training that is no trial.

    Raises:
        TrainingError: nothing to train or measure on, or a package is missing.
    """

    base: Path
    rows: Sequence[TrainingRow]
    development: DevelopmentRows
    settings: TrainingSettings
    steps: int
    learning_rate: float
    precision: str
    bos_token: str | None
    device: str
    state_folder: Path
    fingerprint: str
    base_loss: DevelopmentLoss | None = None
    trial_steps: int | None = None

    def __post_init__(self) -> None:
        rows = [row for row in self.rows if row.ids]
        pairs = zip(self.development.with_calls, self.development.without_calls, strict=True)
        measured = [pair for pair in pairs if all(row.ids for row in pair)]
        if not rows:
            raise TrainingError(
                "There is no text to train on: no call was kept that fits into "
                "training.max_tokens. Build more shards, lower the filtering thresholds or raise "
                "training.max_tokens."
            )
        weights = self.settings.loss_weights
        if weightless := sum(not total_weight([row], weights) for row in rows):
            raise TrainingError(
                f"{weightless} of {len(rows)} rows have no token that counts in the loss. Set "
                "training.loss_weights.text above 0; texts without calls consist of nothing else."
            )
        if not measured:
            raise TrainingError(
                "There is no development text, by which the best checkpoint is chosen. Raise "
                "training.development_share or build more shards."
            )
        if self.settings.lora_rank is not None:
            check_installed()
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "development", DevelopmentRows(*zip(*measured, strict=True)))

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """What the settings and this job say of how to train, for the record of the model."""
        values = self.settings.model_dump() | {
            name: getattr(self, name) for name in ("learning_rate", "steps", "precision")
        }
        return {name: values[name] for name in _RECORDED}

    def is_evaluated(self, step: int) -> bool:
        """Return whether development losses are measured behind a step, counted from 1."""
        evaluations = self.settings.evaluations
        return step * evaluations // self.steps > (step - 1) * evaluations // self.steps

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1.

        The warm-up ends with the step at which the full rate is reached.
        """
        warmup_steps = round(self.settings.warmup_share * self.steps)
        return self.learning_rate * min(1.0, step / warmup_steps if warmup_steps else 1.0)

    @cached_property
    def digest(self) -> str:
        """Of everything that the numbers of the run follow from."""
        measured = zip(self.development.with_calls, self.development.without_calls, strict=True)
        return hex_digest(
            self.fingerprint,
            *map(hex_digest, self.rows),
            "",
            *(hex_digest(*pair) for pair in measured),
        )
