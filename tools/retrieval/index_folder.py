"""Manages index folders: each is complete, with a describing `index.json`, or absent."""

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
    """Error for an index that cannot be built; an earlier index stays intact."""


def index_information(directory: Path) -> dict[str, Any] | None:
    """Return the contents of `index.json`, such as `fingerprint`; None if it cannot be read."""
    try:
        information = json.loads((directory / INFORMATION_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return information if isinstance(information, dict) else None


def write_information(folder: Path, information: Mapping[str, Any]) -> None:
    """Write `index.json`, which must be the last file of an index."""
    write_atomically(folder / INFORMATION_FILE, json.dumps(information, indent=2) + "\n")


@contextmanager
def exclusive_build(directory: Path, *, fingerprint: str) -> Iterator[Path | None]:
    """Hold the lock file next to `directory`, so that only one process builds the index.

    Yield an empty folder, which replaces an earlier index if the block raises no error. Yield None
    if there is nothing to do: another process has just built this index.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.parent / f"{directory.name}.lock")
    built_meanwhile = None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOGGER.warning("waiting for another run to build %s", directory)
        lock.acquire()
        built_meanwhile = index_information(directory)
    try:
        if built_meanwhile is not None and built_meanwhile["fingerprint"] == fingerprint:
            yield None
        else:
            with atomic_folder(directory) as folder:
                yield folder
    finally:
        lock.release()
