"""Computes dense vectors with a pretrained encoder, such as Contriever (Izacard et al., 2022).

A vector is the mean of the last hidden states over a text's tokens. Weights are only read from a
local directory and from safetensors.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from toolformer.base.loading import loading, out_of_memory_as, prepare_transformers
from toolformer.base.model_files import ADAPTER_FILE
from tools.errors import ToolDiedError, ToolUnavailableError
from tools.model_identity import model_identity

_TOOL_NAME = "WikiSearch"
_BATCH_SIZE = 32
_REMEDY = (
    "Set passage_index.encoder in toolformer.yaml to wordllama or to a directory written by "
    "`save_pretrained` (config.json, tokenizer.json, *.safetensors), and materialise passage_index"
)


class TextEncoder:
    """Hugging Face encoder, loaded at first use. `cosine` similarity scales vectors to length 1."""

    def __init__(
        self, directory: Path, *, similarity: str, max_tokens: int, device: Callable[[], str]
    ) -> None:
        self.directory = Path(directory)
        self._similarity = similarity
        self._max_tokens = max_tokens
        self._device = device

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "encoder": str(self.directory),
            "similarity": self._similarity,
            "encoder_tokens": self._max_tokens,
        }

    @property
    def identity(self) -> str:
        return f"{encoder_identity(self.directory)} {self._similarity} {self._max_tokens}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors of texts: float32, shape `(texts, dimension)`.

        Their last digits depend on how texts are batched. Raise ToolUnavailableError if the encoder
        cannot be loaded, and ToolDiedError if memory cannot hold the encoder and a batch.
        """
        with out_of_memory_as(
            ToolDiedError,
            f"The memory of the device does not hold the encoder in {self.directory} and "
            f"{_BATCH_SIZE} texts of {self._max_tokens} tokens. Lower "
            "passage_index.encoder_tokens, choose a smaller passage_index.encoder, or set "
            "language_model.device to cpu.",
        ):
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        model, tokenizer = self._loaded
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        for start in range(0, len(order), _BATCH_SIZE):
            indices = order[start : start + _BATCH_SIZE]
            inputs = tokenizer(
                [texts[index] for index in indices],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                split_special_tokens=True,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                states = model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"][:, :, None].float()
            means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            vectors[indices] = means.cpu().numpy()
        if self._similarity == "cosine":
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return vectors

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        prepare_transformers()
        from transformers import AutoModel, AutoTokenizer

        encoder_identity(self.directory)
        with loading(f"the encoder in {self.directory}", _unavailable):
            model, information = AutoModel.from_pretrained(
                self.directory,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            # Missing weights would be random, and differ between processes. Vectors need no pooler.
            missing = sorted(name for name in information["missing_keys"] if "pooler" not in name)
            if missing:
                raise ValueError(f"the weights lack {len(missing)} tensors, such as {missing[0]}")
            tokenizer = AutoTokenizer.from_pretrained(self.directory, trust_remote_code=False)
        return model.to(self._device()).eval(), tokenizer


def encoder_identity(directory: Path) -> str:
    """Return `model_identity` of an encoder; raise ToolUnavailableError if it is unusable."""
    if not (directory / "config.json").is_file() or not any(directory.glob("*.safetensors")):
        raise _unavailable(f"there is no encoder in {directory} (config.json, *.safetensors)")
    if (directory / ADAPTER_FILE).exists():
        raise _unavailable(f"the encoder in {directory} has an adapter ({ADAPTER_FILE}): merge it")
    return model_identity(directory)


def _unavailable(reason: str) -> ToolUnavailableError:
    return ToolUnavailableError(_TOOL_NAME, reason, _REMEDY)
