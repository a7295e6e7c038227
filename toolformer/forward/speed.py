"""About how fast a model will be fed on this machine, for a plan made before it is loaded."""

import time

# Annotation feeds this share of the tokens that the matrix products alone would allow: attention,
# steps of sampling and the program take the rest.
_SHARE_OF_PRODUCTS = 0.6
_ROWS, _INPUTS, _OUTPUTS = 512, 1024, 1024
# As long as another program may hold a core: the fastest turn has them all.
_SECONDS = 1.0


def expected_tokens_per_second(weights: int, *, device: str, precision: str) -> float:
    """Tokens a second of annotation, by the speed of one matrix product here; takes 1 s.

    Args:
        weights: number of weights of the model; each takes a multiplication and an addition.

    Raises:
        RuntimeError: torch does not have the device.
    """
    return _SHARE_OF_PRODUCTS * _operations_per_second(device, precision) / (2 * weights)


def _operations_per_second(device: str, precision: str) -> float:
    import torch

    dtype = getattr(torch, precision)
    rows = torch.ones(_ROWS, _INPUTS, dtype=dtype, device=device)
    weights = torch.ones(_OUTPUTS, _INPUTS, dtype=dtype, device=device)
    seconds, end = [], time.perf_counter() + _SECONDS
    while not seconds or time.perf_counter() < end:
        began = time.perf_counter()
        # The sum is read back, so a GPU has computed it.
        torch.nn.functional.linear(rows, weights).sum().item()
        seconds.append(time.perf_counter() - began)
    return 2 * _ROWS * _INPUTS * _OUTPUTS / min(seconds)
