"""Low-rank adapters (LoRA, by PEFT) for models that are too large to be trained as a whole.

Each linear layer of the body gets a product of two narrow matrices beside it. They alone are
trained; in the end they are added to the layers' own weights, so what comes out is a plain model.
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
# What the adapters add is scaled by alpha / rank. A fixed ratio lets the rank change without the
# learning rate; 2 is the usual one.
_ALPHA_OVER_RANK = 2


def check_installed() -> None:
    """Tell before anything is loaded that PEFT is missing.

    Raises:
        TrainingError: names the command that installs it.
    """
    if find_spec("peft") is None:
        raise TrainingError(
            "training.lora_rank needs the package peft, which is not installed. Run "
            f"`{INSTALL_EXTRA.format('lora')}` in the clone, or leave training.lora_rank empty."
        )


def add_adapters(model: PreTrainedModel, *, rank: int) -> Any:
    """Freeze a model and put adapters, which change nothing yet, beside its linear layers.

    Draws from torch's global generator. The adapters are float32, whatever the model's weights are.

    Returns:
        PEFT's own view of the model.
    """
    from peft import LoraConfig, LoraModel  # pyright: ignore[reportMissingImports]

    configuration = LoraConfig(
        r=rank,
        lora_alpha=_ALPHA_OVER_RANK * rank,
        lora_dropout=0.0,
        bias="none",
        # Of the body; the output layer stays as it is.
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # PEFT 0.21 asks for a property by the name that it had before transformers 5.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted = LoraModel(model, configuration, "default")
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Small steps get lost in bfloat16.
            parameter.data = parameter.data.float()
    return adapted


def save_adapters(adapters: Mapping[str, Tensor], folder: Path) -> None:
    """Write trained adapters, by name, into a folder that is there.

    Raises:
        OSError: the disk is full or cannot be written.
        SafetensorError: likewise.
    """
    contiguous = {name: adapter.detach().contiguous() for name, adapter in adapters.items()}
    save_file(contiguous, folder / _FILE)


def merge_adapters(base: Path, adapters: Path, target: Path, *, rank: int) -> None:
    """Write a model with trained adapters added to its weights, in float32.

    Args:
        base: directory of the model that they were trained beside.
        target: folder that is there; gets config and weights.

    Raises:
        TrainingError: the adapters are not those of the base model's layers.
        OSError: the disk is full or cannot be written.
        SafetensorError: likewise.
    """
    # From the files and not from memory, where the base may have been rounded to bfloat16.
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    adapted, trained = add_adapters(model, rank=rank), load_file(adapters / _FILE)
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if others := sorted(wanted ^ trained.keys()):
        raise TrainingError(
            f"The adapters in {str(adapters)!r} do not match the layers of {base.name!r}: "
            f"{', '.join(others[:3])} ({len(others)} in all) are in only one of them. Expected the "
            "model and the versions of transformers and peft that they were trained with. Use "
            f"those, or remove {str(adapters.parent)!r} and train again."
        )
    # The frozen weights are not among them.
    model.load_state_dict(trained, strict=False)
    adapted.merge_and_unload().save_pretrained(target)
