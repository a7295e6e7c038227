"""The identity of a model directory."""

from pathlib import Path

from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.base.digests import digest_of_bytes, file_digest
from toolformer.base.named_files import read_named

SAFETENSORS = "*.safetensors"

_TOKENIZER_FILES = ("added_tokens.json", "special_tokens_map.json", "tokenizer*.json")
# What a tokenizer is made of where there is no tokenizer.json.
_VOCABULARY_FILES = ("*.model", "*.tiktoken", "merges.txt", "vocab.json", "vocab.txt")
_LONGEST_TEXT = 2**28


def model_identity(directory: Path) -> str:
    """A digest of config, tokenizer and weights.

    Weights are read once: `toolformer.base.digests`. What says only how a model is decoded
    (`toolformer.base.beside_models`) does not count.

    Raises:
        OSError: When a file cannot be read.
    """
    parts = list[bytes]()
    texts = sorted(directory.glob("*.json"))
    texts += [file for file in tokenizer_files(directory) if file not in texts]
    for file in texts:
        if file.name == MIN_CALL_PROBABILITY_FILE:
            continue
        parts += file.name.encode(), read_named(file, maximum_bytes=_LONGEST_TEXT)
    weights = sorted(directory.glob(SAFETENSORS))
    parts += (f"{file.name} {file_digest(file)}".encode() for file in weights)
    return digest_of_bytes(b"".join(parts)).hex()


def chat_template_identity(directory: Path) -> str:
    """A digest of the chat template, where it is a file of its own.

    It is no part of `model_identity`, since annotation never uses it; one in tokenizer_config.json
    is.
    """
    file = directory / "chat_template.jinja"
    text = read_named(file, maximum_bytes=_LONGEST_TEXT) if file.exists() else b""
    return digest_of_bytes(text).hex()


def tokenizer_files(directory: Path) -> list[Path]:
    """The files that the tokenizer of a directory is read from, in a fixed order."""
    is_whole = (directory / "tokenizer.json").exists()
    names = _TOKENIZER_FILES if is_whole else (*_TOKENIZER_FILES, *_VOCABULARY_FILES)
    return sorted(file for name in names for file in directory.glob(name))
