"""Versions of a partition: each is a file of its own that never changes once it is there.

    <name>@<number>-<digest>.parquet

The highest number is the partition; the next version has one more. A query that began with an older
version reads it to its end, since that file stays for a while: DuckDB opens a file by name several
times, and overwriting it would let one query mix old and new rows. The digest is that of the file's
bytes, so a bit that was flipped on the disk is noticed before anything is decoded.
Two writers that do not exclude each other can take the same number: then the name that sorts last
is the partition, for every reader.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path

from toolformer.base.digests import digest_of_bytes, hex_digest_of_file
from toolformer.base.whole_files import flush

VERSION_GLOB = "*@*.parquet"
# For SQL: takes the partition out of the name of a version.
VERSION_PATTERN = r"^(.*)@\d{8}-[0-9a-f]{16}\.parquet$"

_VERSION = re.compile(r"(?P<name>.+)@(?P<number>\d{8})-(?P<digest>[0-9a-f]{16})\.parquet")
_DIGEST_BYTES = 8
# How long a version is kept after another took its place; a query takes no longer.
_KEPT_SECONDS = 600.0


def partition_of(path: Path) -> str | None:
    """Returns the partition that a file is a version of; None where it is none.

    Example:
        >>> partition_of(Path("QA@00000001-0123456789abcdef.parquet"))
        'QA'
    """
    match = _VERSION.fullmatch(path.name)
    return match["name"] if match else None


def versions(folder: Path, name: str | None = None) -> list[Path]:
    """Returns the versions of one partition in a folder, or of all, the newest of each last."""
    return versions_among((folder / file_name for file_name in names_in(folder)), name)


def versions_among(paths: Iterable[Path], name: str | None = None) -> list[Path]:
    """Returns the versions among files, those of a partition side by side and the newest last."""
    keyed = [(version_key(path), path.name, path) for path in paths]
    return [path for key, _, path in sorted(keyed) if key[1] and (name is None or key[1] == name)]


def version_key(path: Path) -> tuple[str, str]:
    """Returns what all versions of a partition share: their folder and its name, or ''."""
    return str(path.parent), partition_of(path) or ""


def names_in(folder: Path) -> list[str]:
    """Returns the names in a folder, none where there is no folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def newest_versions(paths: Iterable[Path]) -> list[Path]:
    """Returns the newest version of each partition, from what `versions_among` returned."""
    return [list(versions_of_one)[-1] for _, versions_of_one in groupby(paths, version_key)]


def newest_version(folder: Path, name: str) -> Path | None:
    """Returns the newest version of a partition; None where there is none."""
    # Most of the others are told by the beginning of their names.
    newest = _newest_names(each for each in names_in(folder) if each.startswith(f"{name}@"))
    return folder / newest[name] if name in newest else None


def newest_in(folder: Path) -> dict[str, Path]:
    """Returns the newest version of each partition in a folder, by the names of the partitions."""
    newest = _newest_names(names_in(folder))
    return {name: folder / newest[name] for name in sorted(newest)}


def _newest_names(file_names: Iterable[str]) -> dict[str, str]:
    newest: dict[str, str] = {}
    for file_name in file_names:
        if match := _VERSION.fullmatch(file_name):
            newest[match["name"]] = max(file_name, newest.get(match["name"], ""))
    return newest


def version_name(name: str, number: int, temporary: Path) -> str:
    """Returns the file name of a version of a partition, from its finished file."""
    digest = hex_digest_of_file(temporary, size=_DIGEST_BYTES)
    return f"{numbered(name, number)}-{digest}.parquet"


def numbered(name: str, number: int) -> str:
    """Returns what the names of all versions of a partition with this number begin with."""
    return f"{name}@{number:08d}"


def number_of(version: str | None) -> int:
    """Returns the number of a version by its file name; 0 for None."""
    match = _VERSION.fullmatch(version or "")
    return int(match["number"]) if match else 0


def publish(temporary: Path, folder: Path, name: str) -> None:
    """Makes a finished file the newest version of a partition.

    Raises:
        OSError: The file system refused; the partition is as it was.
    """
    newest = newest_version(folder, name)
    number = number_of(newest and newest.name) + 1
    put_in_place(temporary, folder / version_name(name, number, temporary))


def put_in_place(temporary: Path, path: Path) -> None:
    """Gives a finished file the path of a version, for good.

    Raises:
        OSError: The file system refused.
    """
    flush(temporary)
    temporary.rename(path)
    flush(path.parent)


def is_intact(path: Path, version: str | None = None) -> bool:
    """Whether a file has the bytes that its version, by default its own name, was written with.

    Raises:
        FileNotFoundError: It is gone.
        OSError: It cannot be read.
    """
    return has_digest(version or path.name, hex_digest_of_file(path, size=_DIGEST_BYTES))


def is_damaged(path: Path) -> bool:
    """Whether a version cannot be read, or has not the bytes that it was written with."""
    try:
        return not is_intact(path)
    except FileNotFoundError:
        # Swept or moved meanwhile.
        return False
    except OSError:
        return True


def has_digest(version: str, digest: str) -> bool:
    """Whether a version was written with this digest, by its file name."""
    match = _VERSION.fullmatch(version)
    return match is not None and match["digest"] == digest


def digest_of(content: bytes) -> str:
    """Returns the digest of a file's bytes."""
    return digest_of_bytes(content, size=_DIGEST_BYTES).hex()


def superseded(paths: Iterable[Path]) -> Iterator[Path]:
    """Yields those of `versions_among` that were replaced so long ago that nobody reads them."""
    limit = time.time() - _KEPT_SECONDS
    for _, versions_of_one in groupby(paths, version_key):
        for old, new in pairwise(list(versions_of_one)):
            if _written_at(new) < limit:
                yield old


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        # Swept or moved meanwhile.
        return time.time()
