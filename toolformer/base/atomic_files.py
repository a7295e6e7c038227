"""Writes files and folders atomically: to a temporary path, flushed, then renamed.

A killed process leaves the old content and temporary files, which `remove_abandoned` removes. A
writing process holds a lock on one of the temporary files, which the kernel releases when the
process ends. A record of host name and process id would not do, since containers may share both.
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

# Suffixes of the new content, DuckDB's log of it, the replaced folder, and the lock file.
_SUFFIXES = (".tmp", ".tmp.wal", ".old.tmp", ".lock.tmp")
_TEMPORARY = re.compile(rf"(.+\.[0-9a-f]{{16}})({'|'.join(map(re.escape, _SUFFIXES))})", re.DOTALL)


@contextmanager
def replacing(target: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to; after the block, that file replaces `target`.

    A durable file is flushed first and survives a machine crash. After an error the old file stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with beside(target) as temporary:
        yield temporary
        # Readers distinguish versions by mtime, for which file systems' own clocks are too coarse.
        now = time.time_ns()
        os.utime(temporary, ns=(now, now))
        if is_durable:
            flush(temporary)
        temporary.replace(target)
        if is_durable:
            flush(target.parent)


@contextmanager
def atomic_folder(target: Path, filled: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces `target` after the block.

    `filled` is the path to yield; by default, the path is unique. If the block fails, the old
    folder stays. A kill between the two renames leaves nothing at `target` until the next call, or
    `remove_abandoned`, restores the old folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    with beside(target) as unique:
        temporary = filled or unique
        _remove(temporary)
        temporary.mkdir()
        try:
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                flush(path)
            if target.exists():
                target.rename(unique.with_suffix(".old.tmp"))
            temporary.rename(target)
            flush(target.parent)
        finally:
            _remove(temporary)


def write_atomically(target: Path, text: str, *, is_durable: bool = True) -> None:
    with replacing(target, is_durable=is_durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield a unique temporary path next to `target`; it is removed after the block.

    `remove_abandoned` keeps it while this process, or one forked in the block, is alive. On a file
    system without locks, the files of a killed process are never removed.
    """
    while True:
        stem = f"{target}.{secrets.token_hex(8)}"
        with Path(f"{stem}.lock.tmp").open("ab") as lock:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            # A file without links was removed by `remove_abandoned` before it was locked: retry.
            if os.fstat(lock.fileno()).st_nlink:
                try:
                    yield Path(f"{stem}.tmp")
                finally:
                    _clean_up(stem)
                return


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove the temporary files of killed processes; restore the folders they were replacing."""
    for stem in {match[1] for path in paths if (match := _TEMPORARY.fullmatch(str(path)))}:
        # Opening or locking fails if a living process holds the lock or another user owns the file.
        with suppress(OSError), Path(f"{stem}.lock.tmp").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clean_up(stem)


def _clean_up(stem: str) -> None:
    replaced, target = Path(f"{stem}.old.tmp"), Path(stem).with_suffix("")
    if replaced.exists() and not target.exists():
        replaced.rename(target)
    for suffix in _SUFFIXES:
        _remove(Path(f"{stem}{suffix}"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file, or a folder's directory entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
