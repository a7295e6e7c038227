"""Resolves the precision setting `auto` for a device."""

import functools
import time

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
# Minimum speed-up over float32 that justifies the rounding of 16 bits.
_MIN_SPEEDUP = 1.2
# Rows, inputs and outputs of the matrix product that is timed, and the number of repetitions.
_PRODUCT, _REPETITIONS = (128, 576, 1536), 10
# Lowest compute capabilities with fast float16 (Volta) and bfloat16 (Ampere).
_FLOAT16_GPU, _BFLOAT16_GPU = (7, 0), (8, 0)


def automatic_precisions(device: str) -> list[str]:
    """Return the precisions for `auto` on a device: the first, or the next if a model overflows.

    GPUs are as fast in float16 as in bfloat16, and float16 is more exact.
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
    """Return the precision for scoring on a device; None means as in the settings.

    bfloat16 would shift losses by hundredths of a nat, and with them decisions.
    """
    return FLOAT32 if device == "cpu" else None


def training_precision(device: str) -> str:
    # Gradients underflow in float16 unless the loss is scaled.
    return next(name for name in automatic_precisions(device) if name != FLOAT16)


@functools.cache
def is_faster_in_bfloat16() -> bool:
    """Time a matrix product, and return whether bfloat16 is worth its rounding.

    Some processors with AVX512-BF16 run it at twice the speed of float32, others at half. Emulation
    is far slower.
    """
    # Alternate between both and take the minimum, since other work on the machine slows both down.
    timings = [
        [_product_seconds(name) for name in (FLOAT32, BFLOAT16)] for _ in range(_REPETITIONS)
    ]
    in_float32, in_bfloat16 = map(min, zip(*timings, strict=True))
    return in_float32 >= _MIN_SPEEDUP * in_bfloat16


def _product_seconds(precision: str) -> float:
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
