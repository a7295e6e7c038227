"""What can be told of a model directory without its weights."""

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
    """Tell a directory with a usable model from anything else, without loading it.

    Raises:
        ModelNotFoundError: names what is missing.
    """
    remedy = (
        "Expected a directory as `save_pretrained` writes it: config.json, tokenizer.json and "
        "*.safetensors. Name such a directory in toolformer.yaml (language_model.path, "
        "sampling.annotator, evaluation.models); language_model.path may be 'embedded', for the "
        "model that comes with the project."
    )
    if not path.is_dir():
        raise ModelNotFoundError(f"There is no model directory {str(path)!r}. {remedy}")
    if (path / ADAPTER_FILE).exists():
        raise ModelNotFoundError(
            f"The model directory {str(path)!r} has an adapter ({ADAPTER_FILE}). Expected a whole "
            "model: merge the adapter (merge_and_unload of PEFT) and save the result in a folder "
            "of its own, or, to use the model without it, move adapter_config.json and "
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
    """What generation_config.json and config.json of a directory hold, as far as they are there.

    Raises:
        ModelNotFoundError: one of them is damaged.
    """
    files = [path / name for name in ("generation_config.json", "config.json")]
    with loading(f"The configuration in {str(path)!r}", refused):
        return [dict(json.loads(file.read_bytes())) for file in files if file.exists()]


def model_without_weights(path: Path) -> "PreTrainedModel":
    """A model of the sizes of a directory's config.json, on no device; its weights are not read.

    Raises:
        ModelNotFoundError: transformers does not know such a model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(path)
    with loading(f"The configuration {str(path / 'config.json')!r}", refused), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def read_config(path: Path) -> "PreTrainedConfig":
    """The configuration of a model directory.

    Raises:
        ModelNotFoundError: it cannot be used, or is of a model of no layers, which transformers
            would build without a word.
    """
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
    """Refuse a directory with a damaged weight file, also one that transformers would not open.

    Raises:
        ModelNotFoundError: names the file.
    """
    from safetensors import safe_open

    for file in sorted(path.glob("*.safetensors")):
        if not file.name.startswith("."):
            with loading(f"The weights {str(file)!r}", refused), safe_open(file, framework="numpy"):
                pass


def check_all_read(model: "PreTrainedModel", unexpected: Iterable[str], path: Path) -> None:
    """Refuse weights that are in the files, belong to parts of this model, and were not loaded.

    Those of further layers do, and a bias of a layer that has none by config.json. What belongs to
    no part of it is legitimately there: buffers of older versions, other heads, an image encoder.

    Args:
        unexpected: names of the weights that it has no place for.

    Raises:
        ModelNotFoundError: names some of the weights.
    """
    prefix = model.base_model_prefix
    parts = {_part(name) for name, _ in model.named_parameters()}
    left_out = [
        name
        for name in sorted(unexpected)
        if not parts.isdisjoint((_part(name), _part(f"{prefix}.{name}")))
    ]
    if left_out:
        layers = getattr(model.config.get_text_config(), "num_hidden_layers", "its")
        raise ModelNotFoundError(
            f"The model in {str(path)!r} has the weights {', '.join(left_out[:3])} "
            f"({len(left_out)} in all), for which its config.json, with {layers} layers, has no "
            "place. Expected the config.json that these weights were saved with; copy or save the "
            "model again."
        )


def _part(weight: str) -> str:
    """The part of a model that a weight belongs to, in whichever layer."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", weight.rpartition(".")[0])


def refused(reason: str) -> ModelNotFoundError:
    """The error for a model that transformers cannot load, with what was expected."""
    return ModelNotFoundError(
        f"{reason}. Expected a causal language model of a class that the installed transformers "
        "knows, with safetensors weights."
    )


def context_length(config: "PreTrainedConfig", name: str) -> int:
    """Most tokens that a model takes, by the configuration of the part that writes."""
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        length = _DEFAULT_CONTEXT
        _LOGGER.warning(
            "config.json of %s has no max_position_embeddings: taken as %d", name, length
        )
    ropes: Any = getattr(config, "rope_parameters", None) or {}
    for rope in (ropes, *ropes.values()):
        if isinstance(rope, dict) and rope.get("rope_type") == "longrope":
            # Where one text of a batch is longer, all of them stand at other angles.
            length = min(length, rope.get("original_max_position_embeddings", length))
    return length
