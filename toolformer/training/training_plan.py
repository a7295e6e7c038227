"""What a finetuning run will do, before it begins: texts, calls, steps, tokens, time.

Does not load a model and does not train.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from toolformer.training.variant_rows import VariantRows

# Floating point operations of a training step per token and parameter: forward 2, backward 4.
STEP_OPERATIONS = 6
# What training reaches of the speed of large matrix products; docs/measurements.md.
_SHARE_OF_PEAK = 0.35
_PROBE_SIZE = 1024
_PROBE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What a run will do.

    Attributes:
        texts: rows to train on.
        calls: calls in them.
        tokens_of_texts: tokens of all rows once.
        batch_size: rows of a step.
        steps: optimiser steps.
    """

    texts: int
    calls: int
    tokens_of_texts: int
    batch_size: int
    steps: int

    @property
    def epochs(self) -> float:
        """How often each text comes."""
        return self.steps * self.batch_size / max(self.texts, 1)

    @property
    def tokens(self) -> int:
        """Tokens trained on in all steps, about."""
        return round(self.tokens_of_texts * self.epochs)

    def seconds(self, parameters: int, operations_per_second: float) -> float:
        """How long it takes, to a factor of about two; development perplexities not counted.

        Args:
            parameters: of the model.
            operations_per_second: of large matrix products on the device; `matmul_speed`.
        """
        return STEP_OPERATIONS * parameters * self.tokens / (_SHARE_OF_PEAK * operations_per_second)


def training_plan(
    rows: VariantRows, *, batch_size: int, epochs: float, steps: int | None
) -> TrainingPlan:
    """The plan for some rows.

    Args:
        rows: what is trained on.
        batch_size: rows of a step.
        epochs: how often each row comes.
        steps: optimiser steps, whatever the rows; None: as many as make the epochs.
    """
    count = len(rows.rows)
    return TrainingPlan(
        texts=count,
        calls=sum(rows.calls.values()),
        tokens_of_texts=sum(len(row.ids) for row in rows.rows),
        batch_size=batch_size,
        steps=steps or max(1, math.ceil(epochs * count / batch_size)),
    )


def parameter_count(weight_files: Iterable[Path]) -> int:
    """Number of weights in safetensors files, by their headers."""
    from safetensors import safe_open

    count = 0
    for path in weight_files:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return count


def matmul_speed(device: str, precision: str) -> float:
    """Floating point operations a second of large matrix products, measured in a tenth of a second.

    Args:
        device: a resolved device.
        precision: `float32` or `bfloat16`.
    """
    import torch

    matrix = torch.ones((_PROBE_SIZE, _PROBE_SIZE), dtype=getattr(torch, precision), device=device)
    product = matrix @ matrix
    products = 0
    began = time.perf_counter()
    while (seconds := time.perf_counter() - began) < _PROBE_SECONDS:
        product = matrix @ matrix
        # Waits for a GPU, which would otherwise only be given the work.
        product[0, 0].item()
        products += 1
    return products * 2 * _PROBE_SIZE**3 / seconds
