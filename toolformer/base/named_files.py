"""Reads files that a person names, and refuses devices, pipes and pointers of Git LFS."""

import errno
from pathlib import Path

POINTER_START = b"version https://git-lfs.github.com/spec/"
IS_POINTER = "it is a pointer of Git LFS: fetch the file itself with `git lfs pull`"


def check_regular(file: Path) -> None:
    """Refuse what is no regular file, which would be read for ever, and pointers of Git LFS.

    Raises:
        OSError: it is a folder, a device, a pipe, a socket or a pointer, or does not exist.
    """
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    with file.open("rb") as stream:
        if stream.read(len(POINTER_START)) == POINTER_START:
            raise OSError(errno.EINVAL, IS_POINTER, str(file))


def read_named(file: Path, *, maximum_bytes: int) -> bytes:
    """Read a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer than the maximum.
    """
    check_regular(file)
    with file.open("rb") as stream:
        content = stream.read(maximum_bytes + 1)
    if len(content) > maximum_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {maximum_bytes:,} bytes", str(file))
    return content
