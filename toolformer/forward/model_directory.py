"""What can be told of a model directory without its weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import ModelNotFoundError
from toolformer.files.loading import loading

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def check_model_directory(path: Path) -> None:
    """Tell a directory with a usable model from anything else, without loading it.

    Raises:
        ModelNotFoundError: names what is missing.
    """
    remedy = (
        "Expected a directory as `save_pretrained` writes it: config.json, tokenizer.json and "
        "*.safetensors. Set language_model.path in toolformer.yaml to such a directory, or to "
        "'embedded' for the model that comes with the project."
    )
    if not path.is_dir():
        raise ModelNotFoundError(f"There is no model directory {str(path)!r}. {remedy}")
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


def kind_of_model(path: Path) -> str:
    """Architecture and number of weights of a model directory; its weights are not read.

    A model and what was finetuned from it are of one kind.

    Raises:
        ModelNotFoundError: transformers does not know such a model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with loading(f"The configuration {str(path / 'config.json')!r}", refused):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return f"{type(model).__name__}-{model.num_parameters()}"


def check_sizes(config: "PreTrainedConfig", path: Path) -> None:
    """Refuse a model of no layers, which transformers would build without a word.

    Raises:
        ModelNotFoundError: names the size.
    """
    text_config = config.get_text_config(decoder=True)
    for field in ("num_hidden_layers", "vocab_size", "max_position_embeddings"):
        if (value := getattr(text_config, field, 1)) < 1:
            raise ModelNotFoundError(
                f"{field} is {value} in {str(path / 'config.json')!r}. Expected at least 1."
            )


def refused(reason: str) -> ModelNotFoundError:
    """The error for a model that transformers cannot load, with what was expected."""
    return ModelNotFoundError(
        f"{reason}. Expected a causal language model of a class that the installed transformers "
        "knows, with safetensors weights."
    )
