"""The identity of a model directory."""

import hashlib
from pathlib import Path

from toolformer.files.beside_models import BESIDE_MODELS
from toolformer.files.file_digest import file_digest
from toolformer.files.named_files import read_named

SAFETENSORS = "*.safetensors"

# What a tokenizer is made of where there is no tokenizer.json.
_VOCABULARY_FILES = ("*.model", "*.tiktoken", "merges.txt", "vocab.json", "vocab.txt")
_LONGEST_TEXT = 2**28


def model_identity(directory: Path) -> str:
    """A digest of config, tokenizer and weights.

    Weights are read once: `toolformer.files.file_digest`. What says only how a model is decoded
    (`toolformer.files.beside_models`) does not count.

    Raises:
        OSError: When a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    texts = sorted(directory.glob("*.json"))
    texts += [file for file in tokenizer_files(directory) if file not in texts]
    for file in texts:
        if file.name in BESIDE_MODELS:
            continue
        digest.update(file.name.encode())
        digest.update(read_named(file, maximum_bytes=_LONGEST_TEXT))
    for file in sorted(directory.glob(SAFETENSORS)):
        digest.update(f"{file.name} {file_digest(file)}".encode())
    return digest.hexdigest()


def tokenizer_files(directory: Path) -> list[Path]:
    """The files that the tokenizer of a directory is read from, in a fixed order."""
    files = sorted(directory.glob("tokenizer*.json"))
    if (directory / "tokenizer.json").exists():
        return files
    return files + sorted(file for name in _VOCABULARY_FILES for file in directory.glob(name))
