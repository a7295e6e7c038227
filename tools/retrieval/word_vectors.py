"""Computes dense vectors from wordllama's trained token embeddings, 256 numbers each.

A vector is the mean over a text's tokens, scaled to length 1. Only two files of the package are
read, since importing it configures the logging of the whole process.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from toolformer.base.digests import hex_digest_of_file
from tools.errors import ToolUnavailableError

WORDLLAMA = "wordllama"

_REMEDY = "Run `pip install --no-deps wordllama==0.4.0.post1`"
_WEIGHTS_FILE = "weights/l2_supercat_256.safetensors"
_TOKENIZER_FILE = "tokenizers/l2_supercat_tokenizer_config.json"


class WordVectors:
    @property
    def settings(self) -> Mapping[str, Any]:
        return {"encoder": WORDLLAMA}

    @property
    def identity(self) -> str:
        return hex_digest_of_file(_folder() / _WEIGHTS_FILE)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors, float32 of shape `(texts, 256)`; zeros for a text without tokens."""
        weights, tokenizer = self._loaded
        vectors = np.zeros((len(texts), weights.shape[1]), np.float32)
        encodings = tokenizer.encode_batch([*texts], add_special_tokens=False)
        for row, encoding in enumerate(encodings):
            if encoding.ids:
                mean = weights[encoding.ids].mean(axis=0)
                vectors[row] = mean / np.linalg.norm(mean)
        return vectors

    @cached_property
    def _loaded(self) -> tuple[np.ndarray, Any]:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = _folder()
        weights = load_file(folder / _WEIGHTS_FILE)["embedding.weight"].astype(np.float32)
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER_FILE))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return weights, tokenizer


def _folder() -> Path:
    specification = importlib.util.find_spec("wordllama")
    folders = specification.submodule_search_locations if specification else None
    if not folders:
        reason = "the package wordllama (vectors for passage search) is not installed"
        raise ToolUnavailableError("WikiSearch", reason, _REMEDY)
    return Path(folders[0])
