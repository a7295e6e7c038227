"""What a command may replace at a path that its user names: nothing but what it wrote itself."""

import stat
from collections.abc import Callable
from pathlib import Path

_HEAD_BYTES = 1_000_000


def why_not_replaced(target: Path, what: str, is_ours: Callable[[Path], bool]) -> str | None:
    """Say what would be lost if a file were written to a path; None where nothing would.

    A link counts as such: a file that takes its place would not be what it points to.

    Args:
        target: the path; free is one where nothing is, an empty file, or a file that is ours.
        what: what is written, such as `report`.
        is_ours: whether a regular file was written by the same command, by a mark in it.
    """
    try:
        status = target.lstat()
        if not stat.S_ISREG(status.st_mode):
            problem = f"is {kind_of(status.st_mode)}, whose place the {what} would take"
        elif status.st_size and not is_ours(target):
            problem = f"is a file, and no {what} that toolformer wrote, so it is not replaced"
        else:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = f"cannot be looked at: {error}"
    return (
        f"'{target}' {problem}. Expected a path where nothing is, or an earlier {what}. Choose "
        "another path."
    )


def kind_of(mode: int) -> str:
    """What a path is, in words, by the mode that `lstat` gives.

    Example:
        >>> kind_of(stat.S_IFIFO)
        'a named pipe'
    """
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def head_of(file: Path) -> bytes:
    """The first bytes of a file, in which a mark stands.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return stream.read(_HEAD_BYTES)
