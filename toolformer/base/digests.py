"""Digests of values and files; Python's own `hash` is salted per process."""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from toolformer.base.named_files import check_regular
from toolformer.base.whole_files import write_whole

_LOGGER = logging.getLogger(__name__)
# No text that is digested contains it, so two values never look like two others.
_SEPARATOR = "\x1f"
# A file that changed more recently may change again within one tick of the file system's clock.
_SETTLED_SECONDS = 2
# Each process reads a smaller file again, in a tenth of a second.
_STORED_BYTES = 2**27
# The digest of a file by its state, by resolved path; and where other processes find it.
_known: dict[Path, dict[str, str]] = {}
_folders: list[Path] = []


def digest(*parts: object, size: int = 16, separator: str = _SEPARATOR) -> bytes:
    """Return the BLAKE2b, of `size` bytes, of some values written as text and joined."""
    return digest_of_bytes(separator.join(map(str, parts)).encode(), size=size)


def digest_of_bytes(content: bytes, *, size: int = 16) -> bytes:
    """Return the BLAKE2b of some bytes."""
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
    """Return the BLAKE2b of a file in hexadecimal.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    check_regular(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def keep_file_digests_in(folder: Path) -> None:
    """Share what `file_digest` reads of large files with other processes, in a folder."""
    _folders[:] = [folder]


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, computed once until the file changes.

    It counts as changed if its inode, size, mtime or ctime is another: whoever edits a file and
    restores its size and mtime still changes its ctime.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
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
        _LOGGER.info("computing the digest of %s once: %.1f GB", path, size / 1e9)
    with path.open("rb") as stream:
        computed = hashlib.file_digest(stream, "sha256").hexdigest()
    is_settled = time.time() - path.stat().st_ctime > _SETTLED_SECONDS
    if is_settled and state == _state(path):
        _known[path] = {state: computed}
        for entry in stored:
            with suppress(OSError):
                write_whole(entry, json.dumps(_known[path]), is_durable=False)
    return computed


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
