"""How many steps a finetuning run has, and how many weights its model."""

import math
from collections.abc import Iterable
from pathlib import Path


def planned_steps(texts: int, *, batch_size: int, epochs: float) -> int:
    """Optimiser steps in which each text comes as often as there are epochs."""
    return max(1, math.ceil(epochs * texts / batch_size))


def parameter_count(weight_files: Iterable[Path]) -> int:
    """Number of weights in safetensors files, by their headers."""
    from safetensors import safe_open

    count = 0
    for path in weight_files:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return count
