"""Removes from an object store what nobody reads any more: superseded versions, contents unnamed.

Old versions stay for a while: a machine may be fetching one, and a writer stores contents before
the version that names them.
"""

import datetime
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

from warehouse.store.files import FILES, OBJECTS, files_of_version
from warehouse.store.objects import ObjectStore, StoredObject, in_parallel
from warehouse.versions import number_of, numbered, partition_of

KEPT = datetime.timedelta(days=1)


def sweep(store: ObjectStore, *, kept: datetime.timedelta = KEPT) -> tuple[int, int]:
    """Removes what nothing refers to and nobody wrote for a while.

    Args:
        store: what to sweep.
        kept: how long contents stay after they were last written, and versions after another one
            took their place.

    Returns:
        How many objects were removed, and their bytes.

    Raises:
        StoreError: the store does not answer.
    """
    limit = datetime.datetime.now(datetime.UTC) - kept
    # Listed before the versions that name them: what is written from now on is younger.
    contents = [stored for stored in store.listed(OBJECTS) if stored.written < limit]
    listed = store.listed()
    removable = _superseded(listed, limit)
    store.remove([stored.path for stored in removable])
    kept_paths = {stored.path for stored in listed}.difference(stored.path for stored in removable)
    named = _named(store, [path for path in kept_paths if path.startswith(FILES)])
    unnamed = [stored for stored in contents if stored.path.rpartition("/")[2] not in named]
    store.remove([stored.path for stored in unnamed])
    removed = removable + unnamed
    return len(removed), sum(stored.bytes for stored in removed)


def _superseded(listed: list[StoredObject], limit: datetime.datetime) -> list[StoredObject]:
    """What belongs to numbers that another one followed before the limit, or to none since then.

    A version of a partition counts once its number is taken, a version of a file is its number.
    """
    numbers = [stored for stored in listed if _number_of(stored) == stored.path]
    gone = {
        old.path
        for _, versions in groupby(numbers, lambda stored: stored.path.rpartition("@")[0])
        for old, following in pairwise(versions)
        if following.written < limit
    }
    kept = {stored.path for stored in numbers} - gone
    return [
        stored
        for stored in listed
        if (number := _number_of(stored))
        and (number in gone or (number not in kept and stored.written < limit))
    ]


def _number_of(stored: StoredObject) -> str | None:
    """The object that says whose the number of a version is; None for what is no version."""
    path = Path(stored.path)
    if name := partition_of(path):
        return path.with_name(numbered(name, number_of(path.name))).as_posix()
    return stored.path if "@" in path.name else None


def _named(store: ObjectStore, versions: list[str]) -> set[str]:
    """The digests of the contents that versions of files name."""
    lists = in_parallel(partial(files_of_version, store), versions)
    return {digest for files in lists for digest in files.values()}
