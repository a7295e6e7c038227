"""Files that appear whole: written beside their place, forced to the disk, renamed.

A kill leaves what was there before, and files that end in `.tmp`, for `remove_abandoned`. Whether
their process lives, the kernel tells: it holds a lock on one of them. Names of machines and numbers
of processes would not do, since containers share them.
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

# As `beside` names them: what is written, its lock, and the folder whose place it takes.
_TEMPORARY = re.compile(r"(.+\.[0-9a-f]{16})(?:\.lock|\.old)?\.tmp(?:\.wal)?")


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
    with beside(target) as temporary:
        yield temporary
        # The clock of a file system ticks slowly, and versions are told apart by their times.
        now = time.time_ns()
        os.utime(temporary, ns=(now, now))
        if is_durable:
            flush(temporary)
        temporary.replace(target)
        if is_durable:
            flush(target.parent)


@contextmanager
def replacing_folder(target: Path, filled: Path | None = None) -> Iterator[Path]:
    """Give an empty folder to fill; after the block it takes the place of `target`.

    What earlier kills left beside it is removed first. One between the two renames leaves no folder
    in the place, until `remove_abandoned` puts the older one back.

    Args:
        target: a folder, or what is not there yet; the folders above are made.
        filled: the folder to fill, under a name beside `target` that other processes know; what a
            kill left in it is removed. By default a name that nobody else uses.

    Raises:
        OSError: it cannot be written; the old folder is as it was, and nothing is left of the new.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent.glob(f"{glob.escape(target.name)}.*.tmp"))
    with beside(target) as own:
        temporary, outgoing = filled or own, own.with_suffix(".old.tmp")
        _remove(temporary)
        temporary.mkdir()
        try:
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                flush(path)
            if target.exists():
                target.rename(outgoing)
            temporary.rename(target)
            flush(target.parent)
        finally:
            _give_back(outgoing, target)
            _remove(temporary)


def write_whole(target: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a text file; see `replacing`."""
    with replacing(target, is_durable=is_durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_new(target: Path, text: str) -> None:
    """Write a text file that is not there yet, whole or not at all.

    Raises:
        FileExistsError: it is there, from whoever came first.
    """
    with beside(target) as temporary:
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


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give a path beside `target` that nobody else uses: `<target>.<random>.tmp`.

    Nobody removes what lies there while this process lives, or one that it has forked meanwhile;
    behind the block it is removed, with the log that DuckDB keeps beside a file of its own. Where
    the file system has no locks, a kill leaves it for ever.
    """
    while True:
        own = f"{target}.{secrets.token_hex(8)}"
        temporary, lock = Path(f"{own}.tmp"), Path(f"{own}.lock.tmp")
        with _opened(lock) as descriptor:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not os.fstat(descriptor).st_nlink:
                continue  # Taken for abandoned in the moment before it was locked.
            try:
                yield temporary
            finally:
                for path in (temporary, Path(f"{temporary}.wal"), lock):
                    _remove(path)
            return


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove the temporary files among these whose process was killed, and others of its name.

    A folder that was to be replaced returns where nothing had taken its place.
    """
    named = ((path, _TEMPORARY.fullmatch(path.name)) for path in paths)
    for own in {path.with_name(match[1]) for path, match in named if match}:
        lock = Path(f"{own}.lock.tmp")
        # Refused where it is locked, or none of ours to remove.
        with suppress(OSError), _opened(lock) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _give_back(Path(f"{own}.old.tmp"), own.with_suffix(""))
            for path in (Path(f"{own}.tmp"), Path(f"{own}.tmp.wal"), lock):
                _remove(path)


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    # No program that this one starts inherits it.
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _give_back(outgoing: Path, target: Path) -> None:
    """Put a folder back into its place where nothing else has taken that; else remove it."""
    if outgoing.exists() and not target.exists():
        outgoing.rename(target)
    else:
        _remove(outgoing)


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
