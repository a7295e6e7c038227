"""A copy on this machine of what an object store publishes, in the layout of a home.

What is read lies here as files; what is looked at, published or withdrawn goes through the store.
Processes of the machine share the copy: a record of what it holds lies in the machine's cache.
Does not know the store's protocol (`objects.py`).
"""

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from toolformer.ground.digests import hex_digest
from toolformer.ground.whole_files import beside
from warehouse.errors import StoreConflictError
from warehouse.store.objects import ObjectStore, Pointer

_LOGGER = logging.getLogger(__name__)
# A store answers many small requests at a time as fast as one.
_AT_A_TIME = 16
_ATTEMPTS = 5


class Layout(Protocol):
    """Where the files of a place lie on this machine."""

    def holds(self, place: str) -> bool:
        """Whether the files of a place are there."""
        ...

    def near(self, place: str) -> Path:
        """A path on the same disk, below which files may be written first."""
        ...

    def settle(self, place: str, fetched: Path) -> None:
        """Puts fetched files in their place, all at once.

        Args:
            place: whose.
            fetched: folder with the files by their names; a place that is one file has
                `ONLY_FILE`.
        """
        ...

    def drop(self, place: str) -> None:
        """Removes the files of a place that is not published any more."""
        ...


ONLY_FILE = ".only"
"""Name of the file of a place that is one file."""


class Mirror:
    """Places of an object store, and their copies on this machine.

    Args:
        store: where they are published.
        cache: folder of this machine, for the record of the copies.
        layout: where the files of a place lie.
    """

    def __init__(self, store: ObjectStore, cache: Path, layout: Layout):
        self.store = store
        self._layout = layout
        self._folder = cache
        self._record = _Record(cache / "copies.sqlite")
        # The state of a place when this process last looked at it by name: what it decided then
        # is right as long as nobody has swapped the pointer since.
        self._seen: dict[str, str | None] = {}

    def look(self, place: str) -> Pointer | None:
        """Brings the copy of a place up to date; returns what it has, None where nothing is.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
            OSError: the disk refused.
        """
        pointer = self.store.pointer(place)
        _tell_fetched(place, self._bring(place, pointer))
        self._seen[place] = pointer.tag if pointer else None
        return pointer

    def refresh(self, prefix: str, is_wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Brings the copies of places that begin so up to date; returns those that changed.

        Args:
            prefix: of their names.
            is_wanted: whether a place is one of them.

        Raises: See `look`.
        """
        # First: what another process publishes between the two is stale then, and not gone.
        known = {place: tag for place, tag in self._record.tags(prefix).items() if is_wanted(place)}
        tags = {place: tag for place, tag in self.store.tags(prefix).items() if is_wanted(place)}
        gone = [place for place in known if place not in tags]
        stale = [
            place
            for place, tag in tags.items()
            if known.get(place) != tag or not self._layout.holds(place)
        ]
        for place in gone:
            self._bring(place, None)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            # Asked for by name: a pointer may have been swapped since it was listed.
            fetched = pool.map(lambda place: self._bring(place, self.store.pointer(place)), stale)
            _tell_fetched(f"{len(stale)} in {prefix}", sum(fetched))
        return gone + stale

    def tag(self, place: str) -> str | None:
        """The state of a place that this machine has a copy of; None where it has none."""
        return self._record.tags(place).get(place)

    def copies(self, prefix: str) -> list[str]:
        """The places that begin so and of which this machine has a copy."""
        return list(self._record.tags(prefix))

    @contextmanager
    def publishing(self, place: str, files: Mapping[str, Path]) -> Iterator[None]:
        """Publish files; in the block, the caller puts its own copies in their place.

        Args:
            place: whose they are.
            files: by name within the place.

        Raises:
            StoreConflictError: another machine has published since this process looked.
            StoreError: the store does not answer.
        """
        current = self.store.pointer(place)
        # What the place has already is named by its pointer, so it stays.
        there = frozenset(current.files.values() if current else ())
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            stored = pool.map(lambda path: self.store.put_file(path, there), files.values())
            digests = dict(zip(files, stored, strict=True))
        if current is None or current.files != digests or current.tag != self._last(place, current):
            tag = self._swap(place, digests)
        else:
            tag = current.tag
        yield
        with self._turn(place):
            self._record.set(place, tag)
        self._seen[place] = tag

    def _last(self, place: str, current: Pointer) -> str | None:
        """The state of a place that this process goes by."""
        return self._seen.get(place, current.tag)

    def _swap(self, place: str, digests: Mapping[str, str]) -> str:
        if place in self._seen:
            return self.store.swap(place, digests, self._seen[place])
        # Nobody decided anything by what was there: the last one to write wins.
        for _ in range(_ATTEMPTS):
            current = self.store.pointer(place)
            try:
                return self.store.swap(place, digests, current.tag if current else None)
            except StoreConflictError:
                continue
        return self.store.swap(place, digests, self.tag(place))

    def withdraw(self, place: str) -> None:
        """Take a place back; its copy is removed."""
        self.store.remove(place)
        self._bring(place, None)
        self._seen.pop(place, None)

    def move(self, place: str, target: str) -> None:
        """Publish what a place has as another, and take it back; a kill between leaves both."""
        pointer = self.store.pointer(place)
        if pointer is None:
            return
        there = self.store.pointer(target)
        if there is None or there.files != pointer.files:
            self.store.swap(target, pointer.files, there.tag if there else None)
        self.withdraw(place)

    def _bring(self, place: str, pointer: Pointer | None) -> int:
        """Brings the copy of a place up to date; returns how many bytes were fetched."""
        known = self._record.tags(place).get(place)
        if pointer is None and known is None:
            return 0
        if pointer is not None and known == pointer.tag and self._layout.holds(place):
            return 0
        fetched = 0
        with self._turn(place):
            # Another process of this machine may have brought it meanwhile.
            known = self._record.tags(place).get(place)
            if pointer is None:
                self._layout.drop(place)
                self._record.set(place, None)
            elif known != pointer.tag or not self._layout.holds(place):
                fetched = self._fetch(place, pointer)
                self._record.set(place, pointer.tag)
        return fetched

    def _fetch(self, place: str, pointer: Pointer) -> int:
        near = self._layout.near(place)
        near.parent.mkdir(parents=True, exist_ok=True)
        folder = beside(near)
        fetched = 0
        try:
            for name, digest in pointer.files.items():
                target = folder / (name or ONLY_FILE)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.store.fetch(digest, target)
                fetched += target.stat().st_size
            self._layout.settle(place, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return fetched

    def _turn(self, place: str) -> FileLock:
        # A few files for any number of places.
        folder = self._folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{hex_digest(place, size=1)}.lock", thread_local=False)


def _tell_fetched(what: str, fetched: int) -> None:
    if fetched:
        _LOGGER.info("fetched %s: %s bytes", what, f"{fetched:,}")


class _Record:
    """Which state of which place this machine holds, for all its processes."""

    def __init__(self, file: Path):
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute(
                "create table if not exists copies (place text primary key, tag text not null)"
            )

    def tags(self, prefix: str) -> dict[str, str]:
        with self._open() as connection:
            rows: Iterable[tuple[str, str]] = connection.execute(
                "select place, tag from copies where place >= ? and place < ?",
                (prefix, f"{prefix}\U0010ffff"),
            )
            return dict(rows)

    def set(self, place: str, tag: str | None) -> None:
        with self._open() as connection, connection:
            if tag is None:
                connection.execute("delete from copies where place = ?", (place,))
            else:
                connection.execute("insert or replace into copies values (?, ?)", (place, tag))

    def _open(self) -> closing[sqlite3.Connection]:
        # One for each use: forks and threads share none.
        return closing(sqlite3.connect(self._file, timeout=60.0))
