"""Which precision `auto` stands for on a device."""

import functools
import time

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
# 16 bits round, so they are taken where they are at least so many times as fast as float32.
_LEAST_GAIN = 1.2
# Rows, inputs and outputs of a layer's product that is timed, and how often.
_PRODUCT, _TURNS = (128, 576, 1536), 10
# Compute capabilities of the first GPUs that are fast in these: Volta and Ampere.
_FLOAT16_GPU, _BFLOAT16_GPU = (7, 0), (8, 0)


def automatic_precisions(device: str) -> list[str]:
    """What `auto` stands for on a device: the first, or the next for a model that overflows in it.

    A GPU computes as fast in float16 as in bfloat16, and many times as exactly: bfloat16 is for
    models that overflow in float16. Few processors compute faster in float16 than in float32.

    Args:
        device: a resolved device.
    """
    order = [FLOAT32]
    if device.startswith("cuda"):
        import torch

        capability = torch.cuda.get_device_capability(device)
        if capability >= _BFLOAT16_GPU:
            order.insert(0, BFLOAT16)
        if capability >= _FLOAT16_GPU:
            order.insert(0, FLOAT16)
    elif is_faster_in_bfloat16():
        order.insert(0, BFLOAT16)
    return order


def scoring_precision(device: str) -> str | None:
    """Return the precision in which a resolved device scores; None for that of the settings.

    bfloat16 moves losses by some hundredths of a nat, and decisions with them.
    """
    return FLOAT32 if device == "cpu" else None


def training_precision(device: str) -> str:
    """What `training.precision: auto` stands for on a resolved device."""
    # Gradients underflow in float16 unless the loss is scaled.
    return next(name for name in automatic_precisions(device) if name != FLOAT16)


@functools.cache
def is_faster_in_bfloat16() -> bool:
    """Time the product of a small model's layer, and return whether bfloat16 is worth it.

    Processors without instructions for it emulate it and take many times as long; with AVX512-BF16
    alone some take half the time of float32 and others twice it.
    """
    # In turns, and the best one counts: what else the machine does slows both down.
    turns = [[_seconds_of_product(name) for name in (FLOAT32, BFLOAT16)] for _ in range(_TURNS)]
    in_float32, in_bfloat16 = map(min, zip(*turns, strict=True))
    return in_float32 >= _LEAST_GAIN * in_bfloat16


def _seconds_of_product(precision: str) -> float:
    """Processor time of this thread."""
    import torch

    rows, inputs, outputs = _PRODUCT
    dtype = getattr(torch, precision)
    states, weights = (
        torch.ones((rows, inputs), dtype=dtype),
        torch.ones((outputs, inputs), dtype=dtype),
    )
    began = time.thread_time()
    torch.nn.functional.linear(states, weights)
    return time.thread_time() - began
