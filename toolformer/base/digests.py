"""Computes digests of values and files. Unlike Python's `hash`, they are equal in all processes."""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from toolformer.base.atomic_files import write_atomically
from toolformer.base.regular_files import check_regular

_LOGGER = logging.getLogger(__name__)
# No digested text contains this character, so joining different values never gives the same text.
_SEPARATOR = "\x1f"
# A file that changed more recently may change again within one tick of the file system's clock,
# so its digest is not cached.
_SETTLED_SECONDS = 2
# Digests of smaller files are not shared between processes: computing one takes only 0.1 seconds.
_STORED_BYTES = 2**27
# {resolved path: {state: digest}}, and the folder where processes share these digests.
_known: dict[Path, dict[str, str]] = {}
_folders: list[Path] = []


def digest(*parts: object, size: int = 16, separator: str = _SEPARATOR) -> bytes:
    """Return the BLAKE2b digest (`size` bytes) of the values as texts joined by `separator`."""
    return digest_of_bytes(separator.join(map(str, parts)).encode(), size=size)


def digest_of_bytes(content: bytes, *, size: int = 16) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()


def hex_digest(*parts: object, size: int = 16) -> str:
    """Return `digest` in hexadecimal, two characters per byte.

    Example:
        >>> hex_digest("text", 1, size=4)
        '776f846f'
    """
    return digest(*parts, size=size).hex()


def number_digest(*parts: object, size: int = 8, separator: str = _SEPARATOR) -> int:
    """Return `digest` as a uniformly distributed number in [0, 256**size)."""
    return int.from_bytes(digest(*parts, size=size, separator=separator), "big")


def hex_digest_of_file(file: Path) -> str:
    """Return the BLAKE2b digest of a regular file in hexadecimal."""
    check_regular(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def cache_file_digests_in(folder: Path) -> None:
    """Share the digests of large files with other processes, through files in a folder."""
    _folders[:] = [folder]


def file_digest(file: Path) -> str:
    """Return the SHA-256 digest of a file, cached until its inode, size, mtime or ctime changes."""
    check_regular(file)
    path = file.resolve()
    state, size = _state(path), path.stat().st_size
    name = digest_of_bytes(os.fsencode(path)).hex()
    stored = [folder / name for folder in _folders] if size >= _STORED_BYTES else []
    for entry in () if path in _known else stored:
        with suppress(OSError, TypeError, ValueError):
            _known[path] = dict(json.loads(entry.read_bytes()))
    if state in _known.get(path, ()):
        return _known[path][state]
    if size > 2**30:
        _LOGGER.info("computing the digest of %s (%.1f GB), once", path, size / 1e9)
    with path.open("rb") as stream:
        computed = hashlib.file_digest(stream, "sha256").hexdigest()
    is_settled = time.time() - path.stat().st_ctime > _SETTLED_SECONDS
    if is_settled and state == _state(path):
        _known[path] = {state: computed}
        for entry in stored:
            with suppress(OSError):
                write_atomically(entry, json.dumps(_known[path]), is_durable=False)
    return computed


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
