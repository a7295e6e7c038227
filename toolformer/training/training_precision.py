"""Which precision a training step is faster in: forward and backward of a few rows, in both."""

import functools
from pathlib import Path

from toolformer.forward.language_model import LanguageModel
from toolformer.forward.precision import (
    FLOAT16,
    FLOAT32,
    PrecisionChoice,
    copies,
    in_order_of_trial,
    measured_choice,
    timed,
)
from toolformer.training.low_rank import add_adapters, check_installed
from toolformer.training.training_loss import ALIKE, add_gradient
from toolformer.training.training_rows import TEXT, TrainingRow

# However few tokens it feeds, a step casts all weights and adds to all their gradients. That hides
# what bfloat16 saves: AVX512-BF16 is 1.2 times as fast with 64 tokens, and 1.5 times with 512.
_FEWEST_TOKENS = 256


def training_choice(
    base: Path, *, device: str, bos_token: str | None, lora_rank: int | None
) -> PrecisionChoice:
    """Measure what a step of training is faster in; every row is a token again and again.

    A model that no single device holds, since it is divided among several, is not measured.

    Raises:
        ModelNotFoundError: `base` holds no usable model.
        TrainingError: adapters need a package that is not installed.
    """
    if lora_rank is not None:
        check_installed()

    def load(precision: str) -> LanguageModel:
        model = LanguageModel.load(base, precision=precision, device=device, bos_token=bos_token)
        if lora_rank is not None:
            add_adapters(model.model, rank=lora_rank)
        model.model.train()
        return model

    copy_of = copies(load, base, device=device)

    def one_step(precision: str, tokens: int) -> float:
        # As in training: only what stands beside adapters is not float32.
        model = copy_of(FLOAT32 if lora_rank is None else precision)
        width = min(tokens, model.context_length)
        row = TrainingRow((model.bos_id,) * width, bytes([TEXT]) * width)
        rows = [row] * max(1, tokens // width)
        fed = width * len(rows)
        step = functools.partial(
            add_gradient,
            model,
            rows,
            weights=ALIKE,
            batch_weight=fed,
            precision=precision,
        )
        return fed / timed(step, device)

    # Gradients underflow in float16 unless the loss is scaled.
    order = [name for name in in_order_of_trial(device) if name != FLOAT16]
    choice = measured_choice(
        {name: functools.partial(one_step, name) for name in order}, fewest_tokens=_FEWEST_TOKENS
    )
    if choice.float32 or choice.bfloat16:
        return choice
    # No device holds the model: the precision that it computes in faster as a rule.
    return PrecisionChoice(order[0], None, None)
