"""Reads files that users name; refuses devices, pipes and Git LFS pointers."""

import errno
from pathlib import Path

POINTER_START = b"version https://git-lfs.github.com/spec/"
LFS_POINTER_ERROR = "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"


def check_regular(file: Path) -> None:
    """Raise OSError for a Git LFS pointer, or for a device or pipe, which may never end."""
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise OSError(errno.EINVAL, "it is not a regular file", str(file))
    with file.open("rb") as stream:
        if stream.read(len(POINTER_START)) == POINTER_START:
            raise OSError(errno.EINVAL, LFS_POINTER_ERROR, str(file))


def read_regular(file: Path, *, maximum_bytes: int) -> bytes:
    """Read a regular file; raise OSError if it is longer than `maximum_bytes`."""
    check_regular(file)
    with file.open("rb") as stream:
        content = stream.read(maximum_bytes + 1)
    if len(content) > maximum_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {maximum_bytes:,} bytes", str(file))
    return content
