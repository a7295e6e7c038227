"""Describes a finetuning run: base model, rows and settings."""

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

# Settings in the model's record. Their order affects the identity of the model.
_RECORDED = (
    *("learning_rate", "warmup_share", "batch_size", "steps", "micro_batch_tokens", "evaluations"),
    *("seed", "clip_norm", "precision", "save_every", "loss_weights", "gradient_checkpointing"),
    *("processes", "lora_rank"),
)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Finetuning run to start or resume. Empty rows are dropped.

    `steps`, `learning_rate` and `precision` override the values in `settings`. Trained weights are
    float32 whatever the precision; the frozen weights of a LoRA run have that precision. With
    several processes, process n uses CUDA device n, from 0.

    Attributes:
        bos_token: Text of the token before every row; None uses the same token as scoring.
        fingerprint: Fingerprint of base model, parameters and the inputs of the rows. A state with
            another fingerprint or other rows is not resumed.
        base_loss: Losses of the base model; None measures them first.
        trial_steps: Number of steps after which training stops if the perplexity without calls is
            more than 5 % above the base model's; None if the run is not a learning-rate trial.
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
                "There is no text to train on: no kept call fits into training.max_tokens tokens. "
                "Build more shards, lower the filtering thresholds or raise training.max_tokens."
            )
        weights = self.settings.loss_weights
        if weightless := sum(not total_weight([row], weights) for row in rows):
            raise TrainingError(
                f"{weightless} of {len(rows)} rows have no token with a positive weight in the "
                "loss. Texts without calls need training.loss_weights.text above 0. Raise it."
            )
        if not measured:
            raise TrainingError(
                "There are no development texts, so the best checkpoint cannot be selected. Raise "
                "training.development_share or build more shards."
            )
        if self.settings.lora_rank is not None:
            check_installed()
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "development", DevelopmentRows(*zip(*measured, strict=True)))

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """Effective training settings, as recorded in the model's `toolformer.json`."""
        values = self.settings.model_dump() | {
            name: getattr(self, name) for name in ("learning_rate", "steps", "precision")
        }
        return {name: values[name] for name in _RECORDED}

    def is_evaluated(self, step: int) -> bool:
        """Return whether development losses are measured after a step, counted from 1."""
        evaluations = self.settings.evaluations
        return step * evaluations // self.steps > (step - 1) * evaluations // self.steps

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1. The warm-up is linear."""
        warmup_steps = round(self.settings.warmup_share * self.steps)
        return self.learning_rate * min(1.0, step / warmup_steps if warmup_steps else 1.0)

    @cached_property
    def digest(self) -> str:
        """Digest of everything that determines the results of the run."""
        measured = zip(self.development.with_calls, self.development.without_calls, strict=True)
        return hex_digest(
            self.fingerprint,
            *map(hex_digest, self.rows),
            "",
            *(hex_digest(*pair) for pair in measured),
        )
