"""Writes files and folders that appear whole: written beside their place, flushed, renamed.

A kill leaves the old content and temporary files, which `remove_abandoned` removes. While a process
writes, it holds a lock on one of them, which the kernel releases when the process ends. Containers
share host names and process ids, so those would not do.
"""

import fcntl
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The new content, DuckDB's log beside it, the folder that it replaces, and the lock.
_SUFFIXES = (".tmp", ".tmp.wal", ".old.tmp", ".lock.tmp")
_TEMPORARY = re.compile(rf"(.+\.[0-9a-f]{{16}})({'|'.join(map(re.escape, _SUFFIXES))})", re.DOTALL)


@contextmanager
def replacing(target: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to; after the block, that file replaces `target`.

    A durable file is flushed first, so it also survives a crash of the machine.

    Raises:
        OSError: it cannot be written; the old file stays and the new one is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with beside(target) as temporary:
        yield temporary
        # File systems have coarse clocks, and readers tell versions apart by their mtime.
        now = time.time_ns()
        os.utime(temporary, ns=(now, now))
        if is_durable:
            flush(temporary)
        temporary.replace(target)
        if is_durable:
            flush(target.parent)


@contextmanager
def replacing_folder(target: Path, filled: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill; after the block, it replaces the folder `target`.

    A kill between the two renames leaves nothing at `target` until the next call, or
    `remove_abandoned`, restores the old folder. `filled` names the folder to fill, beside `target`.

    Raises:
        OSError: it cannot be written; the old folder stays and the new one is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    with beside(target) as own:
        temporary = filled or own
        _remove(temporary)
        temporary.mkdir()
        try:
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                flush(path)
            if target.exists():
                target.rename(own.with_suffix(".old.tmp"))
            temporary.rename(target)
            flush(target.parent)
        finally:
            _remove(temporary)


def write_whole(target: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a text file; see `replacing`."""
    with replacing(target, is_durable=is_durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` that nobody else uses; it is removed after the block.

    `remove_abandoned` leaves it alone while this process, or one forked in the block, is alive. On
    a file system without locks, a kill leaves it for ever.
    """
    while True:
        own = f"{target}.{secrets.token_hex(8)}"
        with Path(f"{own}.lock.tmp").open("ab") as lock:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            # Otherwise `remove_abandoned` removed it before it was locked.
            if os.fstat(lock.fileno()).st_nlink:
                try:
                    yield Path(f"{own}.tmp")
                finally:
                    _clean_up(own)
                return


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove the temporary files among these paths whose process was killed.

    A folder that was being replaced is restored, unless another has taken its place.
    """
    for own in {match[1] for path in paths if (match := _TEMPORARY.fullmatch(str(path)))}:
        # Fails if a living process holds the lock, or another user owns it.
        with suppress(OSError), Path(f"{own}.lock.tmp").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clean_up(own)


def _clean_up(own: str) -> None:
    outgoing, target = Path(f"{own}.old.tmp"), Path(own).with_suffix("")
    if outgoing.exists() and not target.exists():
        outgoing.rename(target)
    for suffix in _SUFFIXES:
        _remove(Path(f"{own}{suffix}"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
