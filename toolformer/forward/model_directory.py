"""Checks and describes a model directory without loading its weights."""

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.base.loading import loading
from toolformer.base.model_files import ADAPTER_FILE
from toolformer.base.regular_files import check_regular
from toolformer.errors import ModelNotFoundError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_LOGGER = logging.getLogger(__name__)
_DEFAULT_CONTEXT = 2048


def check_model_directory(path: Path) -> None:
    """Raise `ModelNotFoundError` if files of a model are missing from a directory."""
    remedy = (
        "Expected a directory as `save_pretrained` writes it, with config.json, tokenizer.json and "
        "*.safetensors. Name such a directory in toolformer.yaml (language_model.path, "
        "sampling.annotator, evaluation.models). Set language_model.path to 'embedded' to use the "
        "model that comes with the project."
    )
    if not path.is_dir():
        raise ModelNotFoundError(f"There is no model directory {str(path)!r}. {remedy}")
    if (path / ADAPTER_FILE).exists():
        raise ModelNotFoundError(
            f"The model directory {str(path)!r} contains an adapter ({ADAPTER_FILE}). Expected a "
            "whole model. Merge the adapter (merge_and_unload of PEFT) and save the result in a "
            "new folder. To use the model without the adapter, move adapter_config.json and "
            "adapter_model.safetensors elsewhere."
        )
    missing = [
        name
        for name, pattern in (
            ("config.json", "config.json"),
            ("a tokenizer (tokenizer.json)", "tokenizer*.json"),
            ("weights (*.safetensors)", "*.safetensors"),
        )
        if not any(path.glob(pattern))
    ]
    if missing:
        raise ModelNotFoundError(
            f"The model directory {str(path)!r} has no {' and no '.join(missing)}. {remedy}"
        )
    try:
        for file in filter(Path.is_file, path.iterdir()):
            check_regular(file)
    except OSError as error:
        raise ModelNotFoundError(
            f"The model directory is not complete: {error}. {remedy}"
        ) from error


def configurations(path: Path) -> list[dict[str, Any]]:
    """Return the contents of generation_config.json and config.json, if they exist."""
    files = [path / name for name in ("generation_config.json", "config.json")]
    with loading(f"The configuration in {str(path)!r}", refused):
        return [dict(json.loads(file.read_bytes())) for file in files if file.exists()]


def model_without_weights(path: Path) -> "PreTrainedModel":
    """Create a directory's model on the meta device, without reading its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(path)
    with loading(f"The configuration {str(path / 'config.json')!r}", refused), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def read_config(path: Path) -> "PreTrainedConfig":
    """Load and check the configuration: transformers would silently build a model of no layers."""
    from transformers import AutoConfig

    with loading(f"The configuration {str(path / 'config.json')!r}", refused):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    text_config = config.get_text_config(decoder=True)
    for field in ("num_hidden_layers", "vocab_size", "max_position_embeddings"):
        if (value := getattr(text_config, field, 1)) < 1:
            raise ModelNotFoundError(
                f"{field} is {value} in {str(path / 'config.json')!r}. Expected at least 1."
            )
    return config


def check_weight_files(path: Path) -> None:
    """Raise `ModelNotFoundError` if a weight file is damaged, including files not in the index."""
    from safetensors import safe_open

    for file in sorted(path.glob("*.safetensors")):
        if not file.name.startswith("."):
            with loading(f"The weights {str(file)!r}", refused), safe_open(file, framework="numpy"):
                pass


def check_all_read(model: "PreTrainedModel", unexpected: Iterable[str], path: Path) -> None:
    """Raise ModelNotFoundError if `unexpected` weights belong to modules of the model.

    Examples are further layers and biases. Weights of other modules are legitimate: buffers of
    older versions, other heads, an image encoder.
    """
    prefix = model.base_model_prefix
    modules = {_module_pattern(name) for name, _ in model.named_parameters()}
    left_out = [
        name
        for name in sorted(unexpected)
        if not modules.isdisjoint((_module_pattern(name), _module_pattern(f"{prefix}.{name}")))
    ]
    if left_out:
        layers = getattr(model.config.get_text_config(), "num_hidden_layers", "its")
        raise ModelNotFoundError(
            f"The weight files in {str(path)!r} contain {', '.join(left_out[:3])} "
            f"({len(left_out)} in all), but the model of its config.json, with {layers} layers, "
            "has no such weights. Expected the config.json that these weights were saved with. "
            "Copy or save the model again."
        )


def _module_pattern(weight: str) -> str:
    """Return the module of a weight, with `#` instead of layer numbers."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", weight.rpartition(".")[0])


def refused(reason: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{reason}. Expected a causal language model of a class that the installed transformers "
        "knows, with safetensors weights."
    )


def context_length(config: "PreTrainedConfig", name: str) -> int:
    """Return the maximum number of tokens of a row, from the configuration of the text model."""
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        length = _DEFAULT_CONTEXT
        _LOGGER.warning(
            "config.json of %s has no max_position_embeddings. Assuming %d.", name, length
        )
    ropes: Any = getattr(config, "rope_parameters", None) or {}
    for rope in (ropes, *ropes.values()):
        if isinstance(rope, dict) and rope.get("rope_type") == "longrope":
            # A longer text would change the rotary angles of all texts in its batch.
            length = min(length, rope.get("original_max_position_embeddings", length))
    return length
