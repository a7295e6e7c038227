"""What the warehouse asks of the place where its slices are published.

Its versions have the same names in a folder and in an object store (`versions.py`). With an object
store the folder is this machine's copy of what is published there.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from toolformer.ground.whole_files import beside
from warehouse import damage
from warehouse.errors import StoreConflictError, StoreError
from warehouse.layout import EMPTY_SHARD, list_slices, shard_of, slice_folder, table_folder
from warehouse.layout_version import LAYOUT_FILE, check_layout, layout_error, record_layout
from warehouse.schema import ALL, table_schema, tables
from warehouse.versions import (
    is_intact,
    newest_versions,
    number_of,
    numbered,
    publish,
    put_in_place,
    slice_of,
    superseded,
    version_key,
    version_name,
    versions,
    versions_among,
)

if TYPE_CHECKING:
    from warehouse.store.files import MirroredFiles
    from warehouse.store.objects import ObjectStore

_LOGGER = logging.getLogger(__name__)
_RETIRED = "retired"
# Of fewer shards the slices are listed shard by shard, else all of a table at once.
_MANY_SHARDS = 16
# A store answers many small requests at a time as fast as one.
_AT_A_TIME = 16


class SliceStore(Protocol):
    """Where slices are published; the files that are read lie in a folder in any case."""

    def record_layout(self) -> None:
        """Makes sure that the layout of the slices is this one, and is recorded.

        Raises:
            LayoutError: they are of another layout.
        """
        ...

    def look(self, table: str, shard: str, name: str) -> None:
        """Makes sure that the folder has the newest version of a slice."""
        ...

    def bring(self, tables: Collection[str], shards: Collection[str] | None = None) -> None:
        """Makes sure that the folder has the newest versions of the slices of these tables.

        Args:
            tables: names of tables.
            shards: only the slices of these, of tables that are cut by shard; by default all.
        """
        ...

    def publish(self, temporary: Path, table: str, shard: str, name: str) -> None:
        """Makes a finished file the newest version of a slice.

        Raises:
            StoreConflictError: another machine published one since this process looked.
            OSError: the slice is as it was.
        """
        ...

    def shards_with(self, tables: Collection[str]) -> set[str]:
        """The shards that have slices of all these tables."""
        ...

    def retired(self) -> set[str]:
        """The shards whose slices were moved aside."""
        ...

    def retire(self, shard: str) -> Path | None:
        """Moves the slices of a shard aside; returns their new folder, None where there is none."""
        ...

    def restore(self, shard: str) -> int:
        """Moves the slices of a retired shard back; returns how many."""
        ...


class FolderStore:
    """Slices are published in a folder, for all machines that see it.

    Args:
        folder: of the warehouse.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def record_layout(self) -> None:
        """See `SliceStore.record_layout`."""
        record_layout(self._folder)

    def look(self, table: str, shard: str, name: str) -> None:
        """Does nothing: the folder is what is published."""

    def bring(self, tables: Collection[str], shards: Collection[str] | None = None) -> None:
        """Does nothing: the folder is what is published."""

    def publish(self, temporary: Path, table: str, shard: str, name: str) -> None:
        """See `SliceStore.publish`."""
        publish(temporary, slice_folder(self._folder, table, shard, name), name)

    def shards_with(self, tables: Collection[str]) -> set[str]:
        """See `SliceStore.shards_with`."""
        shards = [{info.shard for info in list_slices(self._folder, table)} for table in tables]
        return set.intersection(*shards)

    def retired(self) -> set[str]:
        """See `SliceStore.retired`."""
        return damage.retired_shards(self._folder)

    def retire(self, shard: str) -> Path | None:
        """See `SliceStore.retire`."""
        return damage.retire_shard(self._folder, shard)

    def restore(self, shard: str) -> int:
        """See `SliceStore.restore`."""
        return damage.restore_shard(self._folder, shard)


class MirroredStore:
    """Slices are published in an object store; the folder is this machine's copy of them.

    A version has the same name in both, with its digest. It counts once its number is taken: by an
    object of that name without the digest, which holds the name of the version, and whose put fails
    where another has taken the number. Then its writer removes its version.

    Args:
        store: where they are published.
        folder: of the warehouse.
        files: of the same store, with copies in the folder or above it.
    """

    def __init__(self, store: "ObjectStore", folder: Path, files: "MirroredFiles"):
        self._store = store
        self._folder = folder
        self._files = files
        # The newest version of a slice when this process last looked at it by name: what it decided
        # then is right as long as no other one follows.
        self._seen: dict[tuple[str, str, str], str | None] = {}

    def record_layout(self) -> None:
        """See `SliceStore.record_layout`."""
        file = self._folder / LAYOUT_FILE
        if not self._files.bring(file):
            if any(self._store.listed(table) for table in tables()):
                raise layout_error(self._store.url, "none")
            record_layout(self._folder)
            with suppress(StoreConflictError):
                self._files.publish(file)
            self._files.bring(file)
        check_layout(self._folder)

    def look(self, table: str, shard: str, name: str) -> None:
        """See `SliceStore.look`."""
        folder = slice_folder(self._folder, table, shard, name)
        published = self._refresh(folder, lambda path: slice_of(path) == name)
        self._seen[table, shard, name] = published[-1].name if published else None

    def bring(self, tables: Collection[str], shards: Collection[str] | None = None) -> None:
        """See `SliceStore.bring`."""
        folders: list[Path] = []
        for table in sorted(tables):
            keys = {ALL} if table_schema(table).is_cross_shard else shards
            if keys is None or len(keys) > _MANY_SHARDS:
                folders.append(table_folder(self._folder, table))
            else:
                folders += (slice_folder(self._folder, table, key, ALL) for key in sorted(keys))

        def is_wanted(path: Path) -> bool:
            return shards is None or shard_of(path) in {*shards, ALL}

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(lambda folder: self._refresh(folder, is_wanted), folders))

    def publish(self, temporary: Path, table: str, shard: str, name: str) -> None:
        """See `SliceStore.publish`."""
        folder = slice_folder(self._folder, table, shard, name)
        keys = self._keys(self._key(folder))
        published = versions_among(self._versions(keys), name)
        newest = published[-1].name if published else None
        if self._seen.get((table, shard, name), newest) != newest:
            raise self._conflict(folder, name)
        number = number_of(newest) + 1
        # What somebody else removed leaves its number behind.
        while self._key(folder / numbered(name, number)) in keys:
            number += 1
        path = folder / version_name(name, number, temporary)
        self._store.put_file(temporary, self._key(path))
        try:
            self._store.put_new(self._key(_number_file(path)), path.name.encode())
        except StoreConflictError as error:
            self._store.remove([self._key(path)])
            raise self._conflict(folder, name) from error
        put_in_place(temporary, path)
        self._seen[table, shard, name] = path.name

    def shards_with(self, tables: Collection[str]) -> set[str]:
        """See `SliceStore.shards_with`."""
        folders = [table_folder(self._folder, table) for table in tables]
        return set.intersection(*(set(map(shard_of, self._published(each))) for each in folders))

    def retired(self) -> set[str]:
        """See `SliceStore.retired`."""
        return {key.split("/")[1].rpartition("-")[0] for key in self._keys(_RETIRED)}

    def retire(self, shard: str) -> Path | None:
        """See `SliceStore.retire`. What is aside lies in the store alone, in no folder."""
        published = self._of_shard(shard)
        number = len(self._retired_folders(shard)) + 1
        for path in published:
            self._store.move(self._keys_of(path), f"{_RETIRED}/{shard}-{number}/")
            path.unlink(missing_ok=True)
            self._seen.pop((path.parent.parent.name, shard, slice_of(path) or ""), None)

    def restore(self, shard: str) -> int:
        """See `SliceStore.restore`."""
        moved = 0
        for folder in reversed(self._retired_folders(shard)):
            keys = self._keys(folder)
            there = set(map(version_key, self._of_shard(shard)))
            aside = versions_among(self._folder / key.removeprefix(f"{folder}/") for key in keys)
            for path in newest_versions(aside):
                if version_key(path) not in there:
                    self._store.move(self._keys_of(path), source=f"{folder}/")
                    moved += 1
            self._store.remove(self._keys(folder))
        return moved

    def has_foreign(self) -> bool:
        """Whether the store has slices that the folder has not."""
        folders = [table_folder(self._folder, table) for table in tables()]
        published = [path for folder in folders for path in self._published(folder)]
        return any(not path.exists() for path in newest_versions(versions_among(published)))

    def publish_all(self) -> int:
        """Publishes what the folder has; returns how many slices.

        Raises:
            StoreError: the store does not answer; those before are published.
        """
        self.record_layout()
        found = [info.path for table in tables() for info in list_slices(self._folder, table)]
        for path in found:
            self._store.put_file(path, self._key(path))
            self._store.put_new(self._key(_number_file(path)), path.name.encode())
        return len(found)

    def _refresh(
        self, folder: Path, is_wanted: Callable[[Path], bool] = lambda _: True
    ) -> list[Path]:
        """Brings the copies of slices below a folder up to date; returns the newest versions.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
            OSError: the disk refused.
        """
        # First: what another process of this machine publishes later is in the store by then.
        copies = [path for path in _copies(folder) if is_wanted(path)]
        published = versions_among(filter(is_wanted, self._published(folder)))
        newest = {version_key(path): path for path in newest_versions(published)}
        for path in set(copies).difference(published):
            # Retired; what was swept in the store stays here for whoever reads it.
            following = newest.get(version_key(path))
            if following is None or path > following:
                path.unlink(missing_ok=True)
        missing = [path for path in newest.values() if not path.exists()]
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            fetched = sum(pool.map(self._fetch, missing))
        if missing:
            _LOGGER.info(
                "fetched %s in %s: %s bytes", len(missing), self._key(folder), f"{fetched:,}"
            )
        return list(newest.values())

    def _fetch(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = beside(path)
        try:
            self._store.fetch(self._key(path), temporary)
            if not is_intact(temporary, path.name):
                raise StoreError(
                    f"The object '{self._key(path)}' in {self._store.url!r} is not what was "
                    "stored: its bytes have another digest. Remove it, then build again what it "
                    "stood for."
                )
            size = temporary.stat().st_size
            put_in_place(temporary, path)
        except FileNotFoundError:
            # Retired meanwhile.
            return 0
        finally:
            temporary.unlink(missing_ok=True)
        for old in superseded(versions(path.parent, slice_of(path))):
            old.unlink(missing_ok=True)
        return size

    def _published(self, folder: Path) -> list[Path]:
        """Where the versions below a folder lie, or would lie, on this machine."""
        return self._versions(self._keys(self._key(folder)))

    def _versions(self, keys: Iterable[str]) -> list[Path]:
        """The versions among these objects whose numbers are theirs."""
        paths = {self._folder / key for key in keys if key.count("/") == 2}
        found = [path for path in paths if slice_of(path) and shard_of(path)]
        of_number = Counter(map(_number_file, found))
        return [
            path
            for path in found
            if _number_file(path) in paths
            and (of_number[_number_file(path)] == 1 or self._has_its_number(path))
        ]

    def _has_its_number(self, path: Path) -> bool:
        return self._store.read(self._key(_number_file(path))) == path.name.encode()

    def _keys_of(self, path: Path) -> list[str]:
        """The objects of a version."""
        return [self._key(path), self._key(_number_file(path))]

    def _of_shard(self, shard: str) -> list[Path]:
        names = [name for name, schema in tables().items() if not schema.is_cross_shard]
        folders = [slice_folder(self._folder, name, shard, ALL) for name in names]
        return [path for folder in folders for path in self._published(folder)]

    def _retired_folders(self, shard: str) -> list[str]:
        """Where a shard's slices were moved, by time."""
        found = {"/".join(key.split("/")[:2]) for key in self._keys(_RETIRED)}
        of_shard = [each for each in found if each.rpartition("-")[0] == f"{_RETIRED}/{shard}"]
        return sorted(of_shard, key=lambda each: int(each.rpartition("-")[2]))

    def _keys(self, folder: str) -> list[str]:
        return [stored.path for stored in self._store.listed(folder)]

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _conflict(self, folder: Path, name: str) -> StoreConflictError:
        return StoreConflictError(
            f"'{self._key(folder / name)}' in {self._store.url!r} was written by another machine "
            "while this one worked on it. What that one wrote stands. Run the same again; what is "
            "up to date is kept."
        )


def _number_file(path: Path) -> Path:
    """What says that the number of a version is taken."""
    return path.with_name(numbered(slice_of(path) or "", number_of(path.name)))


def _copies(folder: Path) -> list[Path]:
    """The versions that lie in the folder of a table or of a slice."""
    if folder.name.startswith("shard="):
        return versions(folder)
    folders = (each for each in folder.glob("shard=*") if each.name != f"shard={EMPTY_SHARD}")
    return [path for each in folders for path in versions(each)]
