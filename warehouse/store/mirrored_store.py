"""Partitions that are published in an object store, of which the folder is this machine's copy."""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from toolformer.base.parallel import in_parallel
from toolformer.base.whole_files import beside, flush
from warehouse.catalogue import Catalogue, Entry, parsed
from warehouse.errors import DamagedPartitionError, StoreConflictError, StoreError
from warehouse.layout import (
    CATALOGUE_FOLDER,
    LAYOUT_FILE,
    catalogue_file,
    check_layout,
    is_intact,
    layout_error,
    record_layout,
    retired_catalogue_file,
)
from warehouse.published import catalogues, number_in, path_of, retired_in, shards_in
from warehouse.schema import ALL, tables
from warehouse.store.files import MirroredFiles
from warehouse.store.objects import ObjectStore
from warehouse.store.partition_store import PartitionStore

_LOGGER = logging.getLogger(__name__)
_VERSION = re.compile(rf"{CATALOGUE_FOLDER}/(?P<shard>[a-z0-9-]+)/(?P<number>\d{{8}})\.json")
# Of fewer shards the catalogues are listed shard by shard, else all at once.
_MANY_SHARDS = 16


class MirroredStore(PartitionStore):
    """Partitions are published in an object store; the folder is this machine's copy of them.

    Args:
        store: where they are published.
        folder: folder of the warehouse.
        files: files of the same store, with copies in the folder or above it.
    """

    def __init__(self, store: ObjectStore, folder: Path, files: MirroredFiles):
        super().__init__(folder, is_copy=True)
        self._store = store
        self._files = files
        # The seal of a partition when this process last looked at it by name: what it decided then
        # is right as long as no other one follows.
        self._seen: dict[tuple[str, str, str], str | None] = {}

    def record_layout(self) -> None:
        """See `PartitionStore.record_layout`."""
        file = self._folder / LAYOUT_FILE
        if not self._files.fetch(file):
            is_filled = any(self._store.listed(name) for name in (CATALOGUE_FOLDER, *tables()))
            # Another machine that began meanwhile published it before its first partition.
            if is_filled and not self._files.fetch(file):
                raise layout_error(self._store.url, "none")
            record_layout(self._folder)
            with suppress(StoreConflictError):
                self._files.publish(file)
            self._files.fetch(file)
        check_layout(self._folder)

    def refresh(self, table: str, shard: str, name: str) -> None:
        """See `PartitionStore.refresh`."""
        self._seen[table, shard, name] = _seal(self._newest(shard), table, name)

    def fetch(
        self,
        table_names: Collection[str],
        shards: Collection[str] | None = None,
        *,
        with_rows: bool = True,
    ) -> None:
        """See `PartitionStore.fetch`.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
            OSError: the disk refused.
        """
        lost: set[Path] = set()
        while True:
            self._fetch_catalogues(shards)
            if not with_rows:
                return
            missing = {
                path
                for each in catalogues(self._folder, table_names, shards)
                for entry in each.entries(table_names)
                if (path := path_of(self._folder, entry, each.shard)) and not path.exists()
            }
            if not missing:
                return
            if gone := missing & lost:
                raise StoreError(
                    f"The object '{self._key(min(gone))}' is missing in {self._store.url!r}, "
                    "though it is published: something else removed it. Put it back from a copy, "
                    "or build again what it stood for, with --force."
                )
            sizes = in_parallel(self._fetch_file, sorted(missing))
            _LOGGER.info("fetched %s partitions: %s bytes", len(missing), f"{sum(sizes):,}")
            # Where it was replaced or retired meanwhile, the catalogue names another one by now.
            lost = {path for path in missing if not path.exists()}

    def publish(self, made: Mapping[str, Sequence[Entry]]) -> None:
        """See `PartitionStore.publish`."""
        conflicts: list[StoreConflictError] = []

        def publish(shard: str) -> None:
            try:
                self._publish(shard, made[shard])
            except StoreConflictError as conflict:
                conflicts.append(conflict)

        in_parallel(publish, made)
        for conflict in conflicts:
            raise conflict

    def _publish(self, shard: str, entries: Sequence[Entry]) -> None:
        newest = self._newest(shard)
        for entry in entries:
            # Whoever has not looked before looks now.
            self._seen.setdefault((entry.table, shard, entry.name), _seal(newest, *entry.key))
        self._refuse_second(newest, entries)
        self._put_files(shard, entries)

        def made(current: Catalogue) -> Catalogue:
            self._refuse_second(current, entries)
            return current.with_entries(entries)

        published = self._put(shard, made)
        for entry in entries:
            self._seen[entry.table, shard, entry.name] = _seal(published, *entry.key)
        self._remove_unnamed(published, {entry.table for entry in entries})

    def _put_files(self, shard: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if path := path_of(self._folder, entry, shard):
                self._store.put_file(path, self._key(path))

    def _refuse_second(self, current: Catalogue, entries: Iterable[Entry]) -> None:
        for entry in entries:
            seen = self._seen[entry.table, current.shard, entry.name]
            if seen != _seal(current, *entry.key):
                raise self._store.conflict("/".join((*entry.key, current.shard)))

    def _put(self, shard: str, change: Callable[[Catalogue], Catalogue]) -> Catalogue:
        """Publishes what comes of the newest catalogue, whoever publishes meanwhile."""
        while True:
            made = change(self._newest(shard))
            try:
                self._store.put_new(_object(shard, made.number), made.content())
            except StoreConflictError:
                continue
            self._take_over(made)
            return made

    def _change(self, shard: str, *, is_retired: bool) -> None:
        current = self._newest(shard)
        if current.number and current.is_retired != is_retired:
            self._put(
                shard,
                lambda newest: replace(newest, number=newest.number + 1, is_retired=is_retired),
            )

    def has_uncopied(self) -> bool:
        """Whether the store has catalogues that the folder has not."""
        return any(
            self._store.read(_object(shard, number)) != self._current(shard).content()
            for shard, number in self._numbers(CATALOGUE_FOLDER).items()
        )

    def publish_all(self) -> int:
        """Publishes what the folder has; returns how many partitions.

        Raises:
            StoreError: the store does not answer; those before are published.
        """
        self.record_layout()
        count = 0
        for shard in sorted({*shards_in(self._folder), *retired_in(self._folder)}):
            catalogue = self._current(shard)
            self._move_files(shard, is_retired=False)
            entries = [*catalogue.entries()]
            self._put_files(shard, entries)
            count += len(entries)
            self._store.put_new(_object(shard, catalogue.number), catalogue.content())
            self._take_over(catalogue)
        return count

    def _newest(self, shard: str) -> Catalogue:
        """The newest catalogue of a shard, which the folder has then."""
        while True:
            number = self._numbers(f"{CATALOGUE_FOLDER}/{shard}").get(shard, 0)
            if self._fetch_catalogue(shard, number):
                return self._current(shard)

    def _fetch_catalogues(self, shards: Collection[str] | None) -> None:
        if shards is not None and len(shards) <= _MANY_SHARDS:
            in_parallel(self._newest, sorted({*shards, ALL}))
            return
        numbers = self._numbers(CATALOGUE_FOLDER)
        unknown = {*shards_in(self._folder), *retired_in(self._folder)}.difference(numbers)
        in_parallel(
            lambda shard: (
                self._fetch_catalogue(shard, numbers.get(shard, 0)) or self._newest(shard)
            ),
            sorted({*numbers, *unknown}),
        )

    def _fetch_catalogue(self, shard: str, number: int) -> bool:
        """Brings a version of a catalogue; returns whether it was still there."""
        files = catalogue_file(self._folder, shard), retired_catalogue_file(self._folder, shard)
        if max(number_in(file, shard) for file in files) == number:
            return True
        if not number:
            self._take_over(Catalogue(shard))
            return True
        content = self._store.read(_object(shard, number))
        if content is None:
            return False
        try:
            catalogue = parsed(content, shard)
            catalogue.files()
        except DamagedPartitionError as error:
            raise StoreError(
                f"The object '{_object(shard, number)}' in {self._store.url!r} is not what was "
                "stored there. Put a copy back, or remove it: then the version before it counts."
            ) from error
        self._take_over(catalogue)
        return True

    def _take_over(self, catalogue: Catalogue) -> None:
        """Makes a published catalogue this machine's, and removes copies that it makes useless."""
        with self._alone():
            before = self._current(catalogue.shard)
            if before.number > catalogue.number > 0:
                return
            self._place(catalogue)
        kept = set() if catalogue.is_retired else catalogue.files_to_keep()
        with suppress(DamagedPartitionError):
            for path in set().union(*before.files()) - kept:
                (self._folder / path).unlink(missing_ok=True)

    def _fetch_file(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside(path) as temporary:
                self._store.fetch(self._key(path), temporary)
                if not is_intact(temporary, path.name):
                    raise StoreError(
                        f"The object '{self._key(path)}' in {self._store.url!r} is not what was "
                        "stored: its bytes have another digest. Remove it, then build again what "
                        "it stood for."
                    )
                size = temporary.stat().st_size
                flush(temporary)
                temporary.replace(path)
        except FileNotFoundError:
            # Replaced or retired meanwhile.
            return 0
        return size

    def _numbers(self, folder: str) -> dict[str, int]:
        """The number of the newest version of each catalogue, by shard."""
        numbers: dict[str, int] = {}
        for match in filter(
            None, (_VERSION.fullmatch(each.path) for each in self._store.listed(folder))
        ):
            numbers[match["shard"]] = max(numbers.get(match["shard"], 0), int(match["number"]))
        return numbers

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _object(shard: str, number: int) -> str:
    """The name of the object that is a version of a catalogue."""
    return f"{CATALOGUE_FOLDER}/{shard}/{number:08d}.json"


def _seal(catalogue: Catalogue, table: str, name: str) -> str | None:
    entry = catalogue.entry(table, name)
    return entry and entry.seal
