"""The object store of a process, and where this machine records its copies of what is there."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.ground.digests import hex_digest

if TYPE_CHECKING:
    from warehouse.store.files import MirroredFiles
    from warehouse.store.objects import ObjectStore


@functools.cache
def object_store(url: str) -> "ObjectStore":
    """The store of a URL; tried out once a process.

    Raises:
        StoreError: it cannot be reached, or cannot be trusted.
    """
    from warehouse.store.objects import ObjectStore

    store = ObjectStore(url)
    store.check()
    return store


def copies_folder(machine: Path, url: str) -> Path:
    """Where a machine records its copies of what is in a store.

    Args:
        machine: `$TOOLFORMER_CACHE`.
        url: of the store.
    """
    return machine / "copies" / hex_digest(url, size=4)


@functools.cache
def mirrored_files(root: Path, machine: Path, url: str) -> "MirroredFiles":
    """The files of a store and their copies in a home.

    Args:
        root: `$TOOLFORMER_HOME`.
        machine: `$TOOLFORMER_CACHE`.
        url: of the store.

    Raises:
        StoreError: see `object_store`.
    """
    from warehouse.store.files import MirroredFiles

    return MirroredFiles(object_store(url), root, copies_folder(machine, url))
