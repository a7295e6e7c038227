"""Computes digests that identify the model in a directory."""

from pathlib import Path

from toolformer.base.digests import digest_of_bytes, file_digest
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.base.regular_files import read_regular

SAFETENSORS = "*.safetensors"

_TOKENIZER_FILES = ("added_tokens.json", "special_tokens_map.json", "tokenizer*.json")
# Further files of a tokenizer that has no tokenizer.json.
_VOCABULARY_FILES = ("*.model", "*.tiktoken", "merges.txt", "vocab.json", "vocab.txt")
_LONGEST_TEXT = 2**28


def model_identity(directory: Path) -> str:
    """Return a digest of config, tokenizer and weights, but not of files for decoding only."""
    parts = list[bytes]()
    texts = sorted(directory.glob("*.json"))
    texts += [file for file in tokenizer_files(directory) if file not in texts]
    for file in texts:
        if file.name == MIN_CALL_PROBABILITY_FILE:
            continue
        parts += file.name.encode(), read_regular(file, maximum_bytes=_LONGEST_TEXT)
    weights = sorted(directory.glob(SAFETENSORS))
    parts += (f"{file.name} {file_digest(file)}".encode() for file in weights)
    return digest_of_bytes(b"".join(parts)).hex()


def chat_template_identity(directory: Path) -> str:
    """Return a digest of chat_template.jinja, which `model_identity` ignores."""
    file = directory / "chat_template.jinja"
    text = read_regular(file, maximum_bytes=_LONGEST_TEXT) if file.exists() else b""
    return digest_of_bytes(text).hex()


def tokenizer_files(directory: Path) -> list[Path]:
    is_whole = (directory / "tokenizer.json").exists()
    names = _TOKENIZER_FILES if is_whole else (*_TOKENIZER_FILES, *_VOCABULARY_FILES)
    return sorted(file for name in names for file in directory.glob(name))
