"""The directory of a translation model: whether it is whole, and which model it holds.

Does not load weights; only names, sizes and headers of weight files are read.
"""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

from tools.errors import ToolUnavailableError

# A safetensors file begins with the length of its JSON header in eight bytes. Other formats have no
# such length; of their files the beginning is read.
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
_BEGINNING_BYTES = 65_536

NO_MODEL = "none"


def model_identity(directory: Path, weight_patterns: Sequence[str]) -> str:
    """Tell one model from another without reading gigabytes.

    Args:
        directory: Holds the model.
        weight_patterns: Glob patterns of its weight files.

    Returns:
        A digest of configuration, tokenizer, and names, sizes and headers of the weight files;
        `none` where the directory cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        if not directory.is_dir():
            return NO_MODEL
        for file in sorted(directory.glob("*.json")):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
        for file in weight_files(directory, weight_patterns):
            digest.update(f"{file.name} {file.stat().st_size}".encode())
            digest.update(_header(file))
    except OSError:
        return NO_MODEL
    return digest.hexdigest()


def weight_files(directory: Path, weight_patterns: Sequence[str]) -> list[Path]:
    """List the weight files of a directory, by pattern and name."""
    return [file for pattern in weight_patterns for file in sorted(directory.glob(pattern))]


def check_model_directory(
    directory: Path, *, tool_name: str, weight_patterns: Sequence[str], remedy: str
) -> None:
    """Check that the files of a model are there.

    Args:
        directory: Where the model should be.
        tool_name: The tool that needs it, for the error.
        weight_patterns: Glob patterns of weight files; each must match one.
        remedy: How to get weights of this kind, as a sentence without a full stop.

    Raises:
        ToolUnavailableError: When the directory or one of its files is missing.
    """
    if not directory.is_dir():
        raise ToolUnavailableError(
            tool_name,
            f"there is no directory {directory}, which the option model_directory names",
            "Correct the option, or remove it",
        )
    missing = [
        name for name in ("config.json", "tokenizer.json") if not (directory / name).is_file()
    ]
    missing += [pattern for pattern in weight_patterns if not any(directory.glob(pattern))]
    if missing:
        raise ToolUnavailableError(
            tool_name, f"the model in {directory} lacks {' and '.join(missing)}", remedy
        )


def _header(file: Path) -> bytes:
    with file.open("rb") as stream:
        if file.suffix != ".safetensors":
            return stream.read(_BEGINNING_BYTES)
        length = struct.unpack("<Q", stream.read(_LENGTH_BYTES).ljust(_LENGTH_BYTES, b"\0"))[0]
        return stream.read(min(length, _LONGEST_HEADER))
