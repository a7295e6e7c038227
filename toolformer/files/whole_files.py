"""Files that appear whole: written beside their place, forced to the disk, renamed.

A kill leaves what was there before, and a file that ends in `.tmp`.
"""

import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# As `beside` names them, and the log that DuckDB keeps beside a file of its own.
_TEMPORARY = re.compile(r".+\.(?P<pid>\d{1,9})\.(?P<host>[0-9a-f]{6})[0-9a-f]{8}\.tmp(?:\.wal)?")
_FOREIGN_FILE_AGE_SECONDS = 24 * 3600.0


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


@contextmanager
def replacing_folder(target: Path, filled: Path | None = None) -> Iterator[Path]:
    """Give an empty folder to fill; after the block it takes the place of `target`.

    A kill between the two renames leaves an older folder beside its place, under a name that ends
    in `.tmp`. What earlier kills left there is removed first.

    Args:
        target: a folder, or what is not there yet; the folders above are made.
        filled: the folder to fill, under a name beside `target` that other processes know; what a
            kill left in it is removed. By default a name that nobody else uses.

    Raises:
        OSError: it cannot be written; the old folder is as it was, and nothing is left of the new.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    temporary, outgoing = filled or beside(target), beside(target)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            flush(path)
        if target.exists():
            target.rename(outgoing)
        temporary.rename(target)
        flush(target.parent)
        shutil.rmtree(outgoing, ignore_errors=True)
    finally:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)


def write_whole(target: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a text file; see `replacing`."""
    with replacing(target, is_durable=is_durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_new(target: Path, text: str) -> None:
    """Write a text file that is not there yet, whole or not at all.

    Raises:
        FileExistsError: it is there, from whoever came first.
    """
    temporary = beside(target)
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        # A rename would replace what another process wrote; a link refuses.
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links: whoever makes the name may replace it.
            target.touch(exist_ok=False)
            temporary.replace(target)
        flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def beside(target: Path) -> Path:
    """A path beside `target` that nobody else uses: `<target>.<pid>.<random>.tmp`.

    The first six digits of the random part stand for the machine, so that a shared folder can
    be cleaned by a machine that does not know the other's processes.
    """
    random = f"{host_digits()}{secrets.token_hex(4)}"
    return target.with_name(f"{target.name}.{os.getpid()}.{random}.tmp")


def remove_abandoned(paths: Iterable[Path]) -> list[Path]:
    """Remove the temporary files among these whose process was killed; returns them.

    That of a file of this machine is asked for; a file of another machine counts as abandoned when
    it is a day old.
    """
    abandoned = [path for path in paths if _is_abandoned(path)]
    for path in abandoned:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return abandoned


def _is_abandoned(path: Path) -> bool:
    import psutil

    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    if match["host"] == host_digits():
        return not psutil.pid_exists(int(match["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _FOREIGN_FILE_AGE_SECONDS
    except FileNotFoundError:
        return False


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
