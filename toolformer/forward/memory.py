"""Estimates the memory that a model needs from its configuration, and measures what is free."""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import OutOfMemoryError
from toolformer.forward.model_directory import model_without_weights
from toolformer.forward.precision import scoring_precision

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

GIB = 2**30
_BYTES_OF_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2}
# Bytes per trained weight: float32 weight, gradient and two moments.
_TRAINED_BYTES = 16
# Tokens, and bytes of KV cache, of an annotation batch on a processor. On a GPU, batches adapt to
# the free memory.
_BATCH_TOKENS, _BATCH_KEY_BYTES = 1024, 2**30
# Rank of the adapters that error messages suggest.
_USUAL_RANK = 16
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryNeeded:
    """Bytes that a model needs; all except `weights` are estimates.

    `training_state` is weights, gradients and moments; `training` adds a micro-batch.
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
) -> MemoryNeeded:
    """Estimate the memory of a model without reading its weights.

    In training, `precision` applies only to frozen weights next to adapters.
    """
    model = model_without_weights(path)
    config = model.config.get_text_config(decoder=True)
    count = model.num_parameters()
    weights = count * _BYTES_OF_WEIGHT[precision]
    if hasattr(model.config, "quantization_config"):
        # Quantised weights take fewer bits, but at least as much memory as the files.
        weights = min(weights, sum(file.stat().st_size for file in path.glob("*.safetensors")))
    layers = getattr(config, "num_hidden_layers", 1)
    kept = config.hidden_size * 4 if gradient_checkpointing else activation_bytes(config)
    micro_batch = micro_batch_tokens * (layers * kept + activation_bytes(config))
    state = _TRAINED_BYTES * count
    if lora_rank is not None:
        state = weights + _TRAINED_BYTES * _adapter_weights(model, lora_rank)
    return MemoryNeeded(
        parameters=count,
        weights=weights,
        annotating=weights + _BATCH_TOKENS * activation_bytes(config) + _BATCH_KEY_BYTES,
        training_state=state,
        training=state + micro_batch,
    )


def activation_bytes(config: "PreTrainedConfig") -> int:
    """Return an upper estimate of the activation bytes per token in one layer."""
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return (8 * config.hidden_size + 4 * inner) * 4


def machine_memory() -> tuple[int, int]:
    """Return total and available memory of this machine or container in bytes."""
    import psutil

    memory = psutil.virtual_memory()
    try:
        limit, used = (
            int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
    # No limit: the file is missing or contains "max".
    except (OSError, ValueError):
        return memory.total, memory.available
    stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    # The page cache counts as used, but the kernel reclaims it on demand.
    left = limit - used + int(stat["file"])
    return min(memory.total, limit), min(memory.available, max(left, 0))


def available_memory(device: "str | torch.device") -> int | None:
    """Return the bytes left for new tensors, including PyTorch's idle pool; None if unknown."""
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        return machine_memory()[1]
    if device.type != "cuda":
        return None
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + idle


def total_memory(device: str) -> int | None:
    """Return the total memory of a device in bytes; None if unknown."""
    import torch

    if device == "cpu":
        return machine_memory()[0]
    return torch.cuda.mem_get_info(device)[1] if device.startswith("cuda") else None


def check_weights_fit(path: Path, *, precision: str, device: str, space: int | None) -> None:
    """Raise OutOfMemoryError if the weights exceed `space` bytes; None means unknown."""
    needed = memory_needed(path, precision=precision)
    if space is None or needed.weights <= space:
        return
    half = memory_needed(path, precision="bfloat16").weights
    remedy = "Use a smaller model (language_model.path)"
    if scoring_precision(device) is None and half <= min(space, needed.weights - 1):
        remedy = "Set language_model.precision to bfloat16 or float16"
    raise OutOfMemoryError(
        f"The {needed.parameters / 1e9:.1f} billion weights of {path.name!r} take "
        f"{needed.weights / GIB:.1f} GiB in {precision} ({half / GIB:.1f} in 16 bits), but device "
        f"{device!r} has only {space / GIB:.1f} GiB of memory left. {remedy}, or use a device with "
        "more memory (language_model.device)."
    )


def check_training_fits(
    path: Path, *, precision: str, device: str, lora_rank: int | None, shares: int
) -> None:
    """Raise OutOfMemoryError if weights, gradients and moments do not fit on a resolved device.

    `precision` is that of frozen weights. The model is sharded over `shares` devices.
    """
    needed = memory_needed(path, precision=precision, lora_rank=lora_rank)
    space = available_memory(device)
    if space is None or needed.training_state <= space * shares:
        return
    with_adapters = memory_needed(path, precision="bfloat16", lora_rank=_USUAL_RANK).training_state
    remedy = "Use a smaller model"
    if lora_rank is None and with_adapters <= space * shares:
        remedy = f"Set training.lora_rank ({with_adapters / GIB:.1f} GiB with {_USUAL_RANK})"
    raise OutOfMemoryError(
        f"Training the {needed.parameters / 1e9:.1f} billion weights of {path.name!r} takes "
        f"at least {needed.training_state / GIB:.1f} GiB (weights, gradients and moments"
        f"{'' if lora_rank is None else f' of adapters of rank {lora_rank}'}), but device "
        f"{device!r} has only {space / GIB:.1f} GiB of memory left. {remedy}, or shard the model "
        "over several GPUs (training.processes)."
    )


def _adapter_weights(model: "PreTrainedModel", rank: int) -> int:
    """Return the number of adapter weights: two narrow matrices per linear layer of the body."""
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    left_out = {id(getattr(each, "weight", None)) for each in embeddings}
    return sum(
        rank * sum(weight.shape)
        for weight in model.parameters()
        if weight.dim() == 2 and id(weight) not in left_out
    )


def release_memory() -> None:
    """Return unused memory to the system, and unused device memory to the device."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
    # The C library keeps freed memory between live allocations. Only glibc can release it.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
