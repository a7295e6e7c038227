"""Versions of a slice: each is a file of its own that never changes once it is there.

    <name>@<stamp>-<digest>.parquet

The newest stamp is the slice. A query that began with an older version reads it to its end, since
that file stays for a while: DuckDB opens a file by name several times, and a name that came to
stand for other rows in between would give it rows of both. The digest is that of the file's bytes,
so a bit that was flipped on the disk is noticed before anything is decoded.
Does not know tables or rows.
"""

import re
import time
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path

from toolformer.ground.digests import digest_of_bytes, hex_digest_of_file
from toolformer.ground.whole_files import flush

VERSION_GLOB = "*@*.parquet"
# For SQL: takes the slice out of the name of a version, and the stamp.
VERSION_PATTERN = r"^(.*)@(\d{16})-[0-9a-f]{16}\.parquet$"

_VERSION = re.compile(r"(?P<name>.+)@(?P<stamp>\d{16})-(?P<digest>[0-9a-f]{16})\.parquet")
_DIGEST_BYTES = 8
# A file is in its place before its stamp's time, in microseconds: whoever looks twice, as a view
# of `warehouse.duckdb` does, and takes what was stamped before it began, sees the same both times.
_AHEAD = 100_000
# How long a version is kept after another took its place; a query takes no longer.
_KEPT_SECONDS = 600.0


def slice_of(path: Path) -> str | None:
    """Returns the slice that a file is a version of; None where it is none.

    Example:
        >>> slice_of(Path("QA@0001763712000000-0123456789abcdef.parquet"))
        'QA'
    """
    match = _VERSION.fullmatch(path.name)
    return match["name"] if match else None


def versions(folder: Path, name: str | None = None) -> list[Path]:
    """Returns the versions of one slice in a folder, or of all, the newest of each slice last."""
    return versions_among(folder, names_in(folder), name)


def versions_among(folder: Path, names: Iterable[str], name: str | None = None) -> list[Path]:
    """Returns the versions among the files of a folder, the newest of each slice last.

    Args:
        folder: Where they lie.
        names: Of the files.
        name: Of the one slice; None is all.
    """
    found = [match for match in map(_VERSION.fullmatch, names) if match]
    return [
        folder / match[0]
        for match in sorted(found, key=lambda match: (match["name"], match[0]))
        if name is None or match["name"] == name
    ]


def names_in(folder: Path) -> list[str]:
    """Returns the names in a folder, none where there is no folder."""
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def newest_versions(paths: Iterable[Path]) -> list[Path]:
    """Returns of each slice the newest version.

    Args:
        paths: Versions, those of a slice side by side and the newest last.
    """
    return [list(of_slice)[-1] for _, of_slice in groupby(paths, _place)]


def newest_version(folder: Path, name: str) -> Path | None:
    """Returns the newest version of a slice; None where there is none."""
    return max(versions(folder, name), default=None)


def publish(temporary: Path, folder: Path, name: str) -> Path:
    """Makes a finished file the newest version of a slice.

    Args:
        temporary: The file, on the same disk; or the newest version, to stamp it with the time.
        folder: Where the slice lies.
        name: Of the slice.

    Returns:
        Where it is now.

    Raises:
        OSError: The file system refused; the slice is as it was.
    """
    flush(temporary)
    digest = hex_digest_of_file(temporary, size=_DIGEST_BYTES)
    before = [path for path in versions(folder, name) if path != temporary]
    path = temporary
    while True:
        stamp = _now() + _AHEAD
        if before:
            # Clocks are set back at times.
            stamp = max(stamp, _stamp(before[-1]) + 1)
        path = path.rename(folder / _file_name(name, stamp, digest))
        if _now() <= stamp:
            break
    flush(folder)
    return path


def is_ahead(path: Path) -> bool:
    """Whether a version is stamped with the future: the clock of its writer ran ahead."""
    return _stamp(path) > _now() + 10 * _AHEAD


def restamp(path: Path) -> Path:
    """Stamps the newest version of a slice with the present time; returns where it is now.

    Raises:
        OSError: The file system refused.
    """
    name = slice_of(path) or ""
    for older in versions(path.parent, name)[:-1]:
        if is_ahead(older):
            older.unlink(missing_ok=True)
    return publish(path, path.parent, name)


def is_intact(path: Path) -> bool:
    """Whether a version has the bytes that it was written with.

    Raises:
        FileNotFoundError: It is gone.
        OSError: It cannot be read.
    """
    return has_digest(path, hex_digest_of_file(path, size=_DIGEST_BYTES))


def has_digest(path: Path, digest: str) -> bool:
    """Whether a version was written with this digest."""
    match = _VERSION.fullmatch(path.name)
    return match is not None and match["digest"] == digest


def digest_of(content: bytes) -> str:
    """Returns the digest of a file's bytes."""
    return digest_of_bytes(content, size=_DIGEST_BYTES).hex()


def superseded(paths: Iterable[Path]) -> Iterator[Path]:
    """Yields the versions whose place another took so long ago that nobody reads them.

    Args:
        paths: See `newest_versions`.
    """
    limit = _now() - _KEPT_SECONDS * 1e6
    for _, of_slice in groupby(paths, _place):
        files = list(of_slice)
        for old, new in pairwise(files):
            if _stamp(new) < limit:
                yield old


def _file_name(name: str, stamp: int, digest: str) -> str:
    return f"{name}@{stamp:016d}-{digest}.parquet"


def _place(path: Path) -> tuple[Path, str | None]:
    return path.parent, slice_of(path)


def _stamp(path: Path) -> int:
    match = _VERSION.fullmatch(path.name)
    return int(match["stamp"]) if match else 0


def _now() -> int:
    return time.time_ns() // 1000
