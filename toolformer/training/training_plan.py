"""How many steps a finetuning run has, and how fast it will be, before it begins."""

import math
import time
from collections.abc import Iterable
from pathlib import Path

# Floating point operations of a training step per token and parameter: forward 2, backward 4.
STEP_OPERATIONS = 6
# What training reaches of the speed of large matrix products; docs/measurements.md.
_SHARE_OF_PEAK = 0.35
_PROBE_SIZE = 1024
_PROBE_SECONDS = 0.1


def planned_steps(texts: int, *, batch_size: int, epochs: float) -> int:
    """Optimiser steps in which each text comes as often as there are epochs."""
    return max(1, math.ceil(epochs * texts / batch_size))


def training_speed(parameters: int, device: str, precision: str) -> float:
    """Tokens a second of training, to a factor of about two.

    Args:
        parameters: of the model.
        device: a resolved device.
        precision: `float32` or `bfloat16`.
    """
    return _SHARE_OF_PEAK * matmul_speed(device, precision) / (STEP_OPERATIONS * parameters)


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
