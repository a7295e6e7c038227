"""Folders that hold an index: described by `index.json`, and there whole or not at all."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from toolformer.base.atomic_files import atomic_folder, write_atomically
from tools.errors import ToolError

INFORMATION_FILE = "index.json"
_LOGGER = logging.getLogger(__name__)


class IndexBuildError(ToolError, RuntimeError):
    """An index cannot be built; what stood in its place is untouched."""


def index_information(directory: Path) -> dict[str, Any] | None:
    """Return what `index.json` says of an index, such as `fingerprint`; None if there is none."""
    try:
        information = json.loads((directory / INFORMATION_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return information if isinstance(information, dict) else None


def write_information(folder: Path, information: Mapping[str, Any]) -> None:
    """Write `index.json`, the last file of an index."""
    write_atomically(folder / INFORMATION_FILE, json.dumps(information, indent=2) + "\n")


@contextmanager
def exclusive_build(directory: Path, *, fingerprint: str) -> Iterator[Path | None]:
    """Build an index while no other process does; the lock is a file beside it.

    An earlier index stays until the block is left without an error.

    Yields:
        An empty folder for the index; None where another process was waited for, and what it built
        is the index that is wanted: there is nothing left to do then.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.parent / f"{directory.name}.lock")
    builder = None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOGGER.warning("waiting for another run, which builds %s", directory)
        lock.acquire()
        builder = index_information(directory)
    try:
        if builder is not None and builder["fingerprint"] == fingerprint:
            yield None
        else:
            with atomic_folder(directory) as folder:
                yield folder
    finally:
        lock.release()
