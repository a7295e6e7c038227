"""Dense vectors from a pretrained encoder, such as Contriever (Izacard et al., 2022).

A vector is the mean of the last hidden states over a text's tokens. Weights are read from a local
directory and from safetensors only.
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
    "Set passage_index.encoder in toolformer.yaml to a directory as `save_pretrained` writes it "
    "(config.json, tokenizer.json, *.safetensors), or to wordllama, and materialise passage_index"
)


class TextEncoder:
    """A Hugging Face encoder in evaluation mode, loaded at first use.

    Args:
        similarity: `dot` compares vectors as they are, as Contriever does; `cosine` divides them
            by their lengths first.
        device: Gives the device when the encoder is loaded.
    """

    def __init__(
        self, directory: Path, *, similarity: str, max_tokens: int, device: Callable[[], str]
    ) -> None:
        self.directory = Path(directory)
        self._similarity = similarity
        self._max_tokens = max_tokens
        self._device = device

    @property
    def settings(self) -> Mapping[str, Any]:
        """What `tools.retrieval.passage_index.open_encoder` opens it again from."""
        return {
            "encoder": str(self.directory),
            "similarity": self._similarity,
            "encoder_tokens": self._max_tokens,
        }

    @property
    def identity(self) -> str:
        """The identity of the model, and how its vectors are made."""
        return f"{encoder_identity(self.directory)} {self._similarity} {self._max_tokens}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts.

        Returns:
            Float32, shape `(texts, dimension)`. Their last digits depend on how texts are batched.

        Raises:
            ToolUnavailableError: The encoder cannot be loaded.
            ToolDiedError: The device's memory does not hold it and a batch.
        """
        with out_of_memory_as(
            ToolDiedError,
            f"The memory of the device does not hold the encoder in {self.directory} and "
            f"{_BATCH_SIZE} texts of {self._max_tokens} tokens. Lower "
            "passage_index.encoder_tokens, take a smaller passage_index.encoder, or set "
            "language_model.device to cpu.",
        ):
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        model, tokenizer = self._loaded
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        for start in range(0, len(order), _BATCH_SIZE):
            places = order[start : start + _BATCH_SIZE]
            fed = tokenizer(
                [texts[index] for index in places],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                split_special_tokens=True,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                states = model(**fed).last_hidden_state.float()
            mask = fed["attention_mask"][:, :, None].float()
            means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            vectors[places] = means.cpu().numpy()
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
            # Those are random, and each process has others. Of a pooler no vector is made.
            lacking = sorted(name for name in information["missing_keys"] if "pooler" not in name)
            if lacking:
                raise ValueError(f"the weights lack {len(lacking)} tensors, such as {lacking[0]}")
            tokenizer = AutoTokenizer.from_pretrained(self.directory, trust_remote_code=False)
        return model.to(self._device()).eval(), tokenizer


def encoder_identity(directory: Path) -> str:
    """What tells an encoder from others; see `tools.model_identity`."""
    if not (directory / "config.json").is_file() or not any(directory.glob("*.safetensors")):
        raise _unavailable(f"there is no encoder in {directory} (config.json, *.safetensors)")
    if (directory / ADAPTER_FILE).exists():
        raise _unavailable(f"the encoder in {directory} has an adapter ({ADAPTER_FILE}): merge it")
    return model_identity(directory)


def _unavailable(reason: str) -> ToolUnavailableError:
    return ToolUnavailableError(_TOOL_NAME, reason, _REMEDY)
