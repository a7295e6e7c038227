"""Trains low-rank adapters (LoRA, with PEFT) if a model is too large for full finetuning.

Only the adapters are trained. At the end they are merged into the weights, so the result is an
ordinary model.
"""

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from toolformer.base.constants import INSTALL_EXTRA
from toolformer.errors import TrainingError

_FILE = "adapters.safetensors"
# LoRA scales the adapters' output by alpha / rank. With a fixed ratio, the learning rate need not
# change with the rank; 2 is common.
_ALPHA_OVER_RANK = 2


def check_installed() -> None:
    """Raise a `TrainingError` with the installation command if PEFT is missing."""
    if find_spec("peft") is None:
        raise TrainingError(
            "training.lora_rank is set, but the package peft is not installed. Run "
            f"`{INSTALL_EXTRA.format('lora')}` in the clone, or remove training.lora_rank."
        )


def add_adapters(model: PreTrainedModel, *, rank: int) -> Any:
    """Freeze a model, add float32 adapters initialised to no effect, and return PEFT's wrapper."""
    from peft import LoraConfig, LoraModel  # pyright: ignore[reportMissingImports]

    configuration = LoraConfig(
        r=rank,
        lora_alpha=_ALPHA_OVER_RANK * rank,
        lora_dropout=0.0,
        bias="none",
        # PEFT excludes the output layer.
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # PEFT 0.21 reads a property by its name from before transformers 5.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted = LoraModel(model, configuration, "default")
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Small updates are lost in bfloat16.
            parameter.data = parameter.data.float()
    return adapted


def save_adapters(adapters: Mapping[str, Tensor], folder: Path) -> None:
    contiguous = {name: adapter.detach().contiguous() for name, adapter in adapters.items()}
    save_file(contiguous, folder / _FILE)


def merge_adapters(base: Path, adapters: Path, target: Path, *, rank: int) -> None:
    """Merge adapters into the weights of their base model and save it in float32."""
    # Reload the base, since the model in memory may have been rounded to bfloat16.
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    adapted, trained = add_adapters(model, rank=rank), load_file(adapters / _FILE)
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if unmatched := sorted(wanted ^ trained.keys()):
        raise TrainingError(
            f"The adapters in {str(adapters)!r} do not match the layers of {base.name!r}: "
            f"only one of them has {', '.join(unmatched[:3])} ({len(unmatched)} in all). Use the "
            "model and the versions of transformers and peft with which the adapters were trained, "
            f"or remove {str(adapters.parent)!r} and train again."
        )
    # Not strict, because the frozen weights are missing from `trained`.
    model.load_state_dict(trained, strict=False)
    adapted.merge_and_unload().save_pretrained(target)
