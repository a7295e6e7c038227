"""The identity of a model directory, without reading gigabytes."""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

from toolformer.files.beside_models import BESIDE_MODELS
from toolformer.files.named_files import read_named

SAFETENSORS = "*.safetensors"

# What a tokenizer is made of where there is no tokenizer.json.
_VOCABULARY_FILES = ("*.model", "*.tiktoken", "merges.txt", "vocab.json", "vocab.txt")
# A safetensors file begins with the length of its JSON header in eight bytes.
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
_LONGEST_TEXT = 2**28
# Of each weight file: training changes nearly all weights, and so some of these.
_BLOCKS = 64
_BLOCK_BYTES = 4096


def model_identity(directory: Path) -> str:
    """A digest of config, tokenizer, and names, sizes, headers and some bytes of the weight files.

    Not of all weights: that would read 12 GB for the paper's model at every run. Of each file 64
    blocks are read, evenly spread, so that other weights of equal shapes are another model. What
    says only how a model is decoded (`toolformer.files.beside_models`) does not count.

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
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        for part in _parts(file):
            digest.update(part)
    return digest.hexdigest()


def tokenizer_files(directory: Path) -> list[Path]:
    """The files that the tokenizer of a directory is read from, in a fixed order."""
    files = sorted(directory.glob("tokenizer*.json"))
    if (directory / "tokenizer.json").exists():
        return files
    return files + sorted(file for name in _VOCABULARY_FILES for file in directory.glob(name))


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        beginning = stream.read(_LENGTH_BYTES).ljust(_LENGTH_BYTES, b"\0")
        yield stream.read(min(struct.unpack("<Q", beginning)[0], _LONGEST_HEADER))
        size = file.stat().st_size
        for block in range(_BLOCKS):
            stream.seek(size * block // _BLOCKS)
            yield stream.read(_BLOCK_BYTES)
