"""Files that a person names, and what lies in their place: devices, pipes, pointers of Git LFS."""

import errno
import stat
from pathlib import Path

POINTER_START = b"version https://git-lfs.github.com/spec/"
"""What begins a file that only says which one Git LFS has for it."""
IS_POINTER = (
    "it is a pointer of Git LFS: the file itself was not fetched (`git lfs pull` does that)"
)


def check_regular(file: Path) -> None:
    """Refuse what is no regular file, which would be read for ever, and pointers of Git LFS.

    Raises:
        OSError: it is a folder, a device, a pipe, a socket or a pointer, or not there.

    Example:
        >>> check_regular(Path("/dev/zero"))
        Traceback (most recent call last):
        ...
        OSError: [Errno 22] it is no regular file: '/dev/zero'
    """
    mode = file.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(file))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    with file.open("rb") as stream:
        if stream.read(len(POINTER_START)) == POINTER_START:
            raise OSError(errno.EINVAL, IS_POINTER, str(file))


def read_named(file: Path, *, maximum_bytes: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer.
    """
    check_regular(file)
    with file.open("rb") as stream:
        content = stream.read(maximum_bytes + 1)
    if len(content) > maximum_bytes:
        problem = f"it is longer than {maximum_bytes:,} bytes"
        raise OSError(errno.EFBIG, problem, str(file))
    return content
