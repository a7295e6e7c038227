"""What tells one model directory from another, without reading gigabytes.

Does not load a model.
"""

import hashlib
import struct
from pathlib import Path

# A safetensors file begins with the length of its JSON header in eight bytes.
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


def model_identity(directory: Path) -> str:
    """A digest of config, tokenizer, and names, sizes and headers of the weight files.

    Not of the weights themselves: that would read 12 GB for the paper's model at every run. A
    finetuned model also carries the record of its training, in `toolformer.json`; its losses and
    seconds make one that was trained again another model.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(directory.glob("*.json")):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    for file in sorted(directory.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        digest.update(_header(file))
    return digest.hexdigest()


def _header(file: Path) -> bytes:
    with file.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(_LENGTH_BYTES).ljust(_LENGTH_BYTES, b"\0"))[0]
        return stream.read(min(length, _LONGEST_HEADER))
