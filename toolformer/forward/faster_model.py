"""A model in the precision that it computes faster in, by passes of the model itself."""

import functools
from collections.abc import Callable
from pathlib import Path

from toolformer.forward.language_model import LanguageModel
from toolformer.forward.precision import (
    BFLOAT16,
    FEWEST_TOKENS,
    FLOAT16,
    PrecisionChoice,
    copies,
    in_order_of_trial,
    measured_choice,
    measured_speed,
    timed,
)


def faster_model(
    load: Callable[[str], LanguageModel], path: Path, *, device: str
) -> tuple[LanguageModel, PrecisionChoice]:
    """Load a model in float32 and in 16 bits, and keep the faster copy.

    A GPU computes as fast in float16 as in bfloat16, and many times as exactly: bfloat16 is for
    models that overflow in float16.

    Args:
        device: a resolved device.

    Raises:
        ModelNotFoundError: the directory holds no model, or one that cannot be used.
    """
    copy_of = copies(load, path, device=device)

    def one_pass(precision: str, tokens: int) -> float:
        import torch

        model = copy_of(precision)
        width = min(tokens, model.context_length)
        ids = torch.full((max(1, tokens // width), width), model.bos_id, device=model.device)
        fed = model.tokens_fed
        with torch.inference_mode():
            seconds = timed(lambda: model.hidden_states(ids), device)
        model.tokens_fed = fed
        return ids.numel() / seconds

    passes = {name: functools.partial(one_pass, name) for name in in_order_of_trial(device)}
    if FLOAT16 in passes:
        passes.pop(BFLOAT16 if measured_speed(passes[FLOAT16], FEWEST_TOKENS) else FLOAT16, None)
    choice = measured_choice(passes)
    return copy_of(choice.precision), choice
