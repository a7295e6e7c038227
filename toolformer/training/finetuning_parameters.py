"""The settings of a finetuning run.

Defaults and ranges are in `toolformer/settings/training_sections.py`.
"""

from dataclasses import dataclass

from toolformer.errors import TrainingError
from toolformer.training.training_loss import LossWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningParameters:
    """How to train.

    Attributes:
        learning_rate: after the warmup; constant from there on.
        warmup_share: share of the steps over which it rises linearly.
        micro_batch_tokens: most tokens fed at once, padding included; a longer row is fed alone.
            Bounds the memory, changes nothing else.
        evaluations: how often development losses are measured, at even distances; the last step
            always has one.
        seed: seed of the order of rows, and of dropout where the model has any.
        precision: precision of the computation, `float32` or `bfloat16` (autocast); the weights
            that are trained are float32 always.
        save_every: steps between two saved states.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping
            them: less memory, about a third more time, the same numbers.
        processes: that train together, each with a part of every weight, gradient and moment on a
            graphics device of its own; on a processor its cores are divided.
        lora_rank: train adapters of this rank beside the linear layers, not the weights themselves
            (LoRA): the model is held in `precision`, without gradients and moments of its own, for
            models that do not fit otherwise. Needs the package peft. None trains all weights.

    Raises:
        TrainingError: there are more processes than rows of a step.
    """

    learning_rate: float
    warmup_share: float
    batch_size: int
    steps: int
    micro_batch_tokens: int
    evaluations: int
    seed: int
    clip_norm: float
    precision: str
    save_every: int
    loss_weights: LossWeights
    gradient_checkpointing: bool = False
    processes: int = 1
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        if self.processes > self.batch_size:
            raise TrainingError(
                f"training.processes is {self.processes}; expected at most training.batch_size, "
                f"which is {self.batch_size}: one without a row would idle. Correct it in "
                "toolformer.yaml."
            )

    def is_evaluated(self, step: int) -> bool:
        """Whether development losses are measured behind a step, counted from 1."""
        return step * self.evaluations // self.steps > (step - 1) * self.evaluations // self.steps

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 1.

        The warmup ends with the step at which the full rate is reached.
        """
        warmup_steps = round(self.warmup_share * self.steps)
        return self.learning_rate * min(1.0, step / warmup_steps if warmup_steps else 1.0)
