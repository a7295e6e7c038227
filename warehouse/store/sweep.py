"""Removes the contents of an object store that no pointer names any more.

Old versions stay for a while: a machine may be fetching one, and a writer stores its contents
before its pointer. Goes by the store's own clock.
"""

import datetime
from concurrent.futures import ThreadPoolExecutor

from warehouse.store.objects import ObjectStore, digest_in

KEPT = datetime.timedelta(days=1)
# A request of the store's protocol removes at most so many.
_AT_A_TIME = 1000
_POINTERS_AT_A_TIME = 16


def sweep(store: ObjectStore, *, kept: datetime.timedelta = KEPT) -> tuple[int, int]:
    """Removes what nothing refers to and nobody wrote for a while.

    Args:
        store: what to sweep.
        kept: how long contents stay after they were last written.

    Returns:
        How many objects were removed, and their bytes.

    Raises:
        StoreError: the store does not answer.
    """
    limit = store.now() - kept
    # Listed before the pointers are read: what is written from now on is younger than the limit.
    old = [each for each in store.objects() if each.written < limit]
    named = _named(store) if old else set[str]()
    unnamed = [each for each in old if digest_in(each.path) not in named]
    for start in range(0, len(unnamed), _AT_A_TIME):
        store.remove_objects([each.path for each in unnamed[start : start + _AT_A_TIME]])
    return len(unnamed), sum(each.bytes for each in unnamed)


def _named(store: ObjectStore) -> set[str]:
    """The digests that pointers name."""
    named: set[str] = set()
    is_complete = False
    # A pointer that is gone by now may have been moved to a place that was not listed yet.
    while not is_complete:
        with ThreadPoolExecutor(_POINTERS_AT_A_TIME) as pool:
            pointers = list(pool.map(store.pointer, store.tags()))
        named.update(digest for each in pointers if each for digest in each.files.values())
        is_complete = all(pointers)
    return named
