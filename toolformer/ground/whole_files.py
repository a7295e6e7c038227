"""Files that appear whole: written beside their place, forced to the disk, renamed.

A kill leaves what was there before, and a file that ends in `.tmp`.
"""

import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Give a path to write to; after the block, what lies there takes the place of `target`.

    Args:
        target: a file; the folders above are made.
        is_durable: force it to the disk first, so that it survives a crash of the machine too.

    Raises:
        OSError: it cannot be written; the old file is as it was, and nothing is left of the new.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(target)
    try:
        yield temporary
        if is_durable:
            flush(temporary)
        temporary.replace(target)
        if is_durable:
            flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        # The log of a DuckDB file, which stays where the disk was too full to write it out.
        temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)


def write_whole(target: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a text file; see `replacing`."""
    with replacing(target, is_durable=is_durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def beside(target: Path) -> Path:
    """A path beside `target` that nobody else uses: `<target>.<pid>.<random>.tmp`.

    The first six digits of the random part stand for the machine, so that a shared folder can
    be cleaned by a machine that does not know the other's processes.
    """
    random = f"{host_digits()}{secrets.token_hex(4)}"
    return target.with_name(f"{target.name}.{os.getpid()}.{random}.tmp")


def host_digits() -> str:
    """Six hexadecimal digits that stand for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def flush(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk, where the system can."""
    if os.name == "nt" and path.is_dir():  # Windows has no such call for folders.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
