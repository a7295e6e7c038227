"""The one way in which this project turns values into digests.

Python's own `hash` is of no use here: it is salted per process.
"""

import hashlib
from pathlib import Path

from toolformer.base.named_files import check_regular

# Two values joined by it cannot be taken for two others: it stands in no text that is digested.
_SEPARATOR = "\x1f"


def digest(*parts: object, size: int = 16, separator: str = _SEPARATOR) -> bytes:
    """BLAKE2b of some values, written as text and joined.

    Args:
        parts: their texts count, and their order.
        size: bytes of the digest.
    """
    return digest_of_bytes(separator.join(map(str, parts)).encode(), size=size)


def digest_of_bytes(content: bytes, *, size: int = 16) -> bytes:
    """BLAKE2b of some bytes."""
    return hashlib.blake2b(content, digest_size=size).digest()


def hex_digest_of_file(file: Path, *, size: int = 16) -> str:
    """BLAKE2b of the bytes of a file, in hexadecimal; read in pieces.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    check_regular(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=size)).hexdigest()


def hex_digest(*parts: object, size: int = 16) -> str:
    """`digest` in hexadecimal, two characters a byte.

    Example:
        >>> hex_digest("text", 1, size=4)
        '776f846f'
    """
    return digest(*parts, size=size).hex()


def number_digest(*parts: object, size: int = 8, separator: str = _SEPARATOR) -> int:
    """`digest` as a number in [0, 256**size) that looks random and is the same everywhere."""
    return int.from_bytes(digest(*parts, size=size, separator=separator), "big")
