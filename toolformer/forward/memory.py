"""What memory a model needs, by its configuration and before its weights are read.

Pure arithmetic, but for looking at how much is left, and giving some back.
"""

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
) -> MemoryNeeded:
    """What annotation and training of a model need; its weights are not read.

    Args:
        precision: `float32`, `bfloat16` or `float16`; of training only what stands beside adapters
            is held in it.
        lora_rank, micro_batch_tokens, gradient_checkpointing: as of training.

    Raises:
        ModelNotFoundError: transformers does not know such a model.
    """
    model = model_without_weights(path)
    config = model.config.get_text_config(decoder=True)
    count = model.num_parameters()
    weights = count * _BYTES_OF_WEIGHT[precision]
    if hasattr(model.config, "quantization_config"):
        # Fewer bits a weight: at least what the files hold.
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
    try:
        limit, used = (
            int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
    # Nothing limits it: there is no such file, or it says "max".
    except (OSError, ValueError):
        return memory.total, memory.available
    stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    # Files that were read count as used, and give way.
    left = limit - used + int(stat["file"])
    return min(memory.total, limit), min(memory.available, max(left, 0))


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


def total_memory(device: str) -> int | None:
    """Bytes that a device has, whoever uses them now; None where that is not known."""
    import torch

    if device == "cpu":
        return machine_memory()[0]
    return torch.cuda.mem_get_info(device)[1] if device.startswith("cuda") else None


def check_weights_fit(path: Path, *, precision: str, device: str, space: int | None) -> None:
    """Refuse a model whose weights alone do not fit, before they are read.

    Args:
        device: a resolved device.
        space: bytes that it has for them; None where that is not known.

    Raises:
        OutOfMemoryError: with the figures, and what to do.
    """
    needed = memory_needed(path, precision=precision)
    if space is None or needed.weights <= space:
        return
    half = memory_needed(path, precision="bfloat16").weights
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


def _adapter_weights(model: "PreTrainedModel", rank: int) -> int:
    """Two narrow matrices beside each linear layer of the body."""
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    left_out = {id(getattr(each, "weight", None)) for each in embeddings}
    return sum(
        rank * sum(weight.shape)
        for weight in model.parameters()
        if weight.dim() == 2 and id(weight) not in left_out
    )


def release_memory() -> None:
    """Give back what is not in use any more, on the device too."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
    # The C library keeps what was freed between things in use; only glibc can be asked for it.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
