"""Removes from an object store what nobody reads any more: superseded versions, contents unnamed.

Old versions stay for a while: a machine may be fetching one, and a writer stores contents before
the version that names them.
"""

import datetime
from functools import partial
from itertools import groupby, pairwise

from toolformer.base.parallel import in_parallel
from warehouse.catalogue import parsed
from warehouse.layout import CATALOGUE_FOLDER
from warehouse.store.files import FILES, OBJECTS, files_of_version, object_name
from warehouse.store.objects import ObjectStore, StoredObject

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
        DamagedPartitionError: a catalogue is not what was written; nothing is removed then.
    """
    limit = datetime.datetime.now(datetime.UTC) - kept
    # Listed before the versions that name them: what is written from now on is younger.
    contents = [
        stored for stored in store.listed() if _is_content(stored) and stored.written < limit
    ]
    versions = [stored for stored in store.listed() if _versioned(stored)]
    superseded = _superseded(versions, limit)
    named = _named(
        store, {each.path for each in versions}.difference(old.path for old in superseded)
    )
    removed = [*superseded, *(stored for stored in contents if stored.path not in named)]
    store.remove([stored.path for stored in removed])
    return len(removed), sum(stored.bytes for stored in removed)


def _is_content(stored: StoredObject) -> bool:
    return stored.path.startswith(OBJECTS) or "/shard=" in stored.path


def _versioned(stored: StoredObject) -> str | None:
    """What an object is a version of; None for what is no version."""
    if stored.path.startswith(f"{CATALOGUE_FOLDER}/"):
        return stored.path.rpartition("/")[0]
    return stored.path.rpartition("@")[0] if stored.path.startswith(FILES) else None


def _superseded(versions: list[StoredObject], limit: datetime.datetime) -> list[StoredObject]:
    """Those that another one followed before the limit."""
    return [
        old
        for _, of_one in groupby(versions, _versioned)
        for old, following in pairwise(of_one)
        if following.written < limit
    ]


def _named(store: ObjectStore, versions: set[str]) -> set[str]:
    """The paths of the contents that these versions name."""
    return set().union(*in_parallel(partial(_named_by, store), sorted(versions)))


def _named_by(store: ObjectStore, version: str) -> set[str]:
    if version.startswith(FILES):
        return {object_name(digest) for digest in files_of_version(store, version).values()}
    shard = version.split("/")[1]
    catalogue = parsed(store.read(version) or b"", shard)
    # One damaged line would make its file look like one that nothing names.
    list(catalogue.entries())
    named, _ = catalogue.files()
    return named
