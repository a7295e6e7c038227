"""What memory a model needs, by its configuration and before its weights are read.

Pure arithmetic, but for looking at how much is left, and giving some back.
"""

import ctypes
import gc
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import OutOfMemoryError
from toolformer.forward.model_directory import model_without_weights
from toolformer.forward.precision import scoring_precision

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

_LOGGER = logging.getLogger(__name__)
GIB = 2**30
_BYTES_OF_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2}
# A float32 weight that is trained, its gradient, and its two moments.
_TRAINED_BYTES = 16
# Of one batch of annotation on a processor; on a GPU batches take what is left.
_BATCH_TOKENS, _BATCH_KEYS = 1024, 2**30
# Of the adapters that are proposed.
_USUAL_RANK = 16
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryNeeded:
    """What a model needs, in bytes; all but the weights are estimates.

    Attributes:
        parameters: how many weights it has.
        weights: of these, in the precision.
        annotating: these and a batch.
        training_state: weights, gradients and moments, of which none can be missed.
        training: these and a micro-batch.
    """

    parameters: int
    weights: int
    annotating: int
    training_state: int
    training: int


def memory_needed(
    path: Path,
    *,
    precision: str,
    lora_rank: int | None = None,
    micro_batch_tokens: int = 4096,
    gradient_checkpointing: bool = False,
    model: "PreTrainedModel | None" = None,
) -> MemoryNeeded:
    """What annotation and training of a model need; its weights are not read.

    Args:
        precision: `float32`, `bfloat16` or `float16`; of training only what stands beside adapters
            is held in it.
        lora_rank, micro_batch_tokens, gradient_checkpointing: as of training.
        model: that of the directory without weights, where it is there already.

    Raises:
        ModelNotFoundError: transformers does not know such a model.
    """
    if model is None:
        model = model_without_weights(path)
    config = model.config.get_text_config(decoder=True)
    count = model.num_parameters()
    weights = _bytes_of_weights(model, path, precision)
    layers = getattr(config, "num_hidden_layers", 1)
    kept = config.hidden_size * 4 if gradient_checkpointing else activation_bytes(config)
    micro_batch = micro_batch_tokens * (layers * kept + activation_bytes(config))
    state = _TRAINED_BYTES * count
    if lora_rank is not None:
        state = weights + _TRAINED_BYTES * _adapter_weights(model, lora_rank)
    return MemoryNeeded(
        parameters=count,
        weights=weights,
        annotating=weights + _BATCH_TOKENS * activation_bytes(config) + _BATCH_KEYS,
        training_state=state,
        training=state + micro_batch,
    )


def activation_bytes(config: "PreTrainedConfig") -> int:
    """Bytes that one token needs while it passes a layer, generously."""
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return (8 * config.hidden_size + 4 * inner) * 4


def machine_memory() -> tuple[int, int]:
    """Bytes that this machine or container has, and those that are available."""
    import psutil

    memory = psutil.virtual_memory()
    limit = _number(_CGROUP / "memory.max")
    if limit is None:
        return memory.total, memory.available
    used = _number(_CGROUP / "memory.current") or 0
    # Files that were read count as used, and give way.
    for line in _lines(_CGROUP / "memory.stat"):
        name, _, value = line.partition(" ")
        used -= int(value) if name == "file" else 0
    return min(memory.total, limit), min(memory.available, max(limit - used, 0))


def available_memory(device: "str | torch.device") -> int | None:
    """Bytes that a device has left for new tensors; None where that is not known.

    What PyTorch's allocator holds of a GPU without using it is left too.
    """
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        return machine_memory()[1]
    if device.type != "cuda":
        return None
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + idle


def whole_memory(device: str) -> int | None:
    """Bytes that a device has, whoever uses them now; None where that is not known."""
    import torch

    if device == "cpu":
        return machine_memory()[0]
    return torch.cuda.mem_get_info(device)[1] if device.startswith("cuda") else None


def check_weights_fit(
    model: "PreTrainedModel", path: Path, *, precision: str, device: str, space: int | None
) -> None:
    """Refuse a model whose weights alone do not fit, before they are read.

    Args:
        model: the model of this directory without weights.
        device: a resolved device.
        space: bytes that it has for them; None where that is not known.

    Raises:
        OutOfMemoryError: with the figures, and what to do.
    """
    needed = memory_needed(path, precision=precision, model=model)
    if space is None or needed.annotating <= space:
        return
    if needed.weights <= space:
        _LOGGER.warning(
            "%s needs about %.1f GiB in %s, of which %.1f are weights; device %s has %.1f GiB",
            *(path.name, needed.annotating / GIB, precision),
            *(needed.weights / GIB, device, space / GIB),
        )
        return
    half = memory_needed(path, precision="bfloat16", model=model).weights
    remedy = "Take a smaller model (language_model.path)"
    if scoring_precision(device) is None and half <= min(space, needed.weights - 1):
        remedy = "Set language_model.precision to bfloat16 or float16"
    raise OutOfMemoryError(
        f"The {needed.parameters / 1e9:.1f} billion weights of {path.name!r} take "
        f"{needed.weights / GIB:.1f} GiB in {precision} ({half / GIB:.1f} in 16 bits), and device "
        f"{device!r} has {space / GIB:.1f} GiB of memory for them. {remedy}, or take a device with "
        "more memory (language_model.device)."
    )


def check_training_fits(
    path: Path, *, precision: str, device: str, lora_rank: int | None, shares: int
) -> None:
    """Refuse to train a model whose weights, gradients and moments do not fit, before it is read.

    Args:
        precision: what stands beside adapters is held in it.
        device: a resolved device.
        shares: devices among which the model is divided.

    Raises:
        OutOfMemoryError: with the figures, and what to do.
    """
    needed = memory_needed(path, precision=precision, lora_rank=lora_rank)
    space = available_memory(device)
    if space is None or needed.training_state <= space * shares:
        return
    with_adapters = memory_needed(path, precision="bfloat16", lora_rank=_USUAL_RANK).training_state
    remedy = "Take a smaller model"
    if lora_rank is None and with_adapters <= space * shares:
        remedy = f"Set training.lora_rank ({with_adapters / GIB:.1f} GiB with {_USUAL_RANK})"
    raise OutOfMemoryError(
        f"Training the {needed.parameters / 1e9:.1f} billion weights of {path.name!r} takes "
        f"{needed.training_state / GIB:.1f} GiB and more (weights, gradients and moments"
        f"{'' if lora_rank is None else f' of adapters of rank {lora_rank}'}), and device "
        f"{device!r} has {space / GIB:.1f} GiB of memory left. {remedy}, or divide the model among "
        "several GPUs (training.processes)."
    )


def _bytes_of_weights(model: "PreTrainedModel", path: Path, precision: str) -> int:
    weights = model.num_parameters() * _BYTES_OF_WEIGHT[precision]
    if hasattr(model.config, "quantization_config"):
        # Fewer bits a weight: at least what the files hold.
        weights = min(weights, sum(file.stat().st_size for file in path.glob("*.safetensors")))
    return weights


def _adapter_weights(model: "PreTrainedModel", rank: int) -> int:
    """Two narrow matrices beside each linear layer of the body."""
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    left_out = {id(getattr(each, "weight", None)) for each in embeddings}
    return sum(
        rank * sum(weight.shape)
        for weight in model.parameters()
        if weight.dim() == 2 and id(weight) not in left_out
    )


def _number(file: Path) -> int | None:
    text = "".join(_lines(file))
    return int(text) if text.isdigit() else None


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


def release_memory() -> None:
    """Give back what is not in use any more, on the device too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # The C library keeps what was freed between things in use; only glibc can be asked for it.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
