"""Dense vectors from a pretrained encoder, such as Contriever (Izacard et al., 2022).

A vector is the mean of the last hidden states over a text's tokens. Weights are read from a local
directory and from safetensors only. Does not search and does not download.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from toolformer.ground.loading import loading
from tools.errors import ToolUnavailableError
from tools.model_identity import model_identity
from tools.retrieval.latent_vectors import ENCODER_FILE, unit_rows

KIND = "encoder"

_TOOL_NAME = "QA"
_REMEDY = (
    "Set passage_index.encoder in toolformer.yaml to a directory as `save_pretrained` writes it "
    "(config.json, tokenizer.json, *.safetensors), or to latent, and materialise passage_index"
)


class TextEncoder:
    """A Hugging Face encoder in evaluation mode, loaded at first use.

    Args:
        directory: As `save_pretrained` writes it.
        similarity: `dot` compares vectors as they are, as Contriever does; `cosine` divides them
            by their lengths first.
        most_tokens: Longer texts are cut there.
        device: Where it runs.
        batch_size: Texts fed together.
    """

    def __init__(
        self,
        directory: Path,
        *,
        similarity: str,
        most_tokens: int,
        device: str,
        batch_size: int = 32,
    ) -> None:
        self.directory = Path(directory)
        self._similarity = similarity
        self._most_tokens = most_tokens
        self._device = device
        self._batch_size = batch_size

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        model, _ = self._loaded
        return int(model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts.

        Args:
            texts: Passages or questions.

        Returns:
            Float32, shape `(texts, dimension)`. Their last digits depend on how texts are batched.

        Raises:
            ToolUnavailableError: When there is no encoder in the directory.
        """
        import torch

        model, tokenizer = self._loaded
        vectors = np.empty((len(texts), self.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), place))
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            fed = tokenizer(
                [texts[place] for place in places],
                padding=True,
                truncation=True,
                max_length=self._most_tokens,
                split_special_tokens=True,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                states = model(**fed).last_hidden_state.float()
            mask = fed["attention_mask"][:, :, None].float()
            means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            vectors[places] = means.cpu().numpy()
        return unit_rows(vectors) if self._similarity == "cosine" else vectors

    def save(self, folder: Path) -> None:
        """Write where the encoder lies and what tells it from others; no weights."""
        fields = {
            "kind": KIND,
            "directory": str(self.directory),
            "identity": encoder_identity(self.directory),
            "similarity": self._similarity,
            "most_tokens": self._most_tokens,
            "device": self._device,
        }
        (folder / ENCODER_FILE).write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: Callable[[], str] | None = None) -> Self:
        """Read an encoder that `save` wrote.

        Args:
            folder: Where it was saved.
            device: Gives the device; by default the one that the index was built on.

        Raises:
            ToolUnavailableError: When its directory holds another one by now: questions would be
                compared with vectors of another kind.
        """
        fields = json.loads((folder / ENCODER_FILE).read_text("utf-8"))
        directory = Path(fields["directory"])
        if encoder_identity(directory) != fields["identity"]:
            raise ToolUnavailableError(
                _TOOL_NAME,
                f"the encoder in {directory} is not the one that the passage index was built with",
                "Materialise passage_index again",
            )
        return cls(
            directory,
            similarity=fields["similarity"],
            most_tokens=fields["most_tokens"],
            device=device() if device else fields["device"],
        )

    def information(self) -> dict[str, Any]:
        """What is worth knowing about the encoder, for `index.json`."""
        return {"kind": KIND, "encoder": str(self.directory), "similarity": self._similarity}

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        # Nothing is ever fetched from a hub behind the user's back.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        encoder_identity(self.directory)
        transformers_logging.disable_progress_bar()
        with loading(f"the encoder in {self.directory}", _unavailable):
            model = AutoModel.from_pretrained(
                self.directory, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(self.directory, trust_remote_code=False)
        return model.to(self._device).eval(), tokenizer


def encoder_identity(directory: Path) -> str:
    """What tells an encoder from others; see `tools.model_identity`.

    Raises:
        ToolUnavailableError: When there is no encoder in the directory.
    """
    if not (directory / "config.json").is_file() or not any(directory.glob("*.safetensors")):
        raise _unavailable(f"there is no encoder in {directory} (config.json, *.safetensors)")
    return model_identity(directory)


def _unavailable(reason: str) -> ToolUnavailableError:
    return ToolUnavailableError(_TOOL_NAME, reason, _REMEDY)
