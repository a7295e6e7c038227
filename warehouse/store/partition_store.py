"""Where the partitions of a warehouse are published: in its folder, or in an object store.

Versions have the same names in both (`versions.py`). With an object store the folder is this
machine's copy of what is published there.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.whole_files import beside
from warehouse.errors import StorageError, StoreConflictError, StoreError
from warehouse.layout import (
    EMPTY_SHARD,
    LAYOUT_FILE,
    check_layout,
    layout_error,
    list_partitions,
    partition_folder,
    record_layout,
    shard_of,
    table_folder,
)
from warehouse.schema import ALL, table_schema, tables
from warehouse.store.objects import ObjectStore, in_parallel
from warehouse.versions import (
    is_intact,
    newest_versions,
    number_of,
    numbered,
    partition_of,
    publish,
    put_in_place,
    superseded,
    version_key,
    version_name,
    versions,
    versions_among,
)

if TYPE_CHECKING:
    from warehouse.store.files import MirroredFiles

_LOGGER = logging.getLogger(__name__)
# Below it the partitions of retired shards lie in a home; in a store, what hides those of a shard.
_RETIRED = "retired"
_DOCUMENTS = "documents"
# Of fewer shards the partitions are listed shard by shard, else all of a table at once.
_MANY_SHARDS = 16


class PartitionStore:
    """Partitions are published in a folder, for all machines that see it.

    What is read lies in that folder in any case.

    Args:
        folder: folder of the warehouse.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._retired = folder.parent / _RETIRED

    def record_layout(self) -> None:
        """Makes sure that the layout of the partitions is this one, and is recorded.

        Raises:
            LayoutError: they are of another layout.
        """
        record_layout(self._folder)

    def refresh(self, table: str, shard: str, name: str) -> None:
        """Makes sure that the folder has the newest version of a partition."""

    def fetch(self, tables: Collection[str], shards: Collection[str] | None = None) -> None:
        """Makes sure that the folder has the newest versions of the partitions of these tables.

        Args:
            tables: names of tables.
            shards: only the partitions of these, of tables that are cut by shard; by default all.
        """

    def publish(self, temporary: Path, table: str, shard: str, name: str) -> None:
        """Makes a finished file the newest version of a partition.

        Raises:
            StoreConflictError: another machine published one since this process looked.
            OSError: the partition is as it was.
        """
        publish(temporary, partition_folder(self._folder, table, shard, name), name)

    def shards_with(self, tables: Collection[str]) -> set[str]:
        """Returns the shards that have partitions of all these tables."""
        shards = [{info.shard for info in list_partitions(self._folder, table)} for table in tables]
        return set.intersection(*shards)

    def retired(self) -> set[str]:
        """Returns the shards whose partitions were moved aside."""
        return {str(shard_of(path)) for path in self._retired.glob("*/shard=*/*.parquet")}

    def retire(self, shard: str) -> None:
        """Moves the partitions of a shard aside, in place of those that were moved there before.

        Raises:
            StorageError: the file system refused.
        """
        for table in _cut_by_shard():
            folder, aside = self._places(table, shard)
            for path in newest_versions(versions(folder)):
                name = partition_of(path)
                for old in (*versions(folder, name)[:-1], *versions(aside, name)):
                    old.unlink(missing_ok=True)
                _move(path, aside / path.name)

    def restore(self, shard: str) -> None:
        """Moves the partitions of a retired shard back.

        A partition that was made anew meanwhile stays as it is. A kill leaves what the next call
        moves.

        Raises:
            StorageError: the file system refused.
        """
        for table in _cut_by_shard():
            folder, aside = self._places(table, shard)
            for path in versions(aside):
                if not versions(folder, partition_of(path)):
                    _move(path, folder / path.name)
            shutil.rmtree(aside, ignore_errors=True)

    def _places(self, table: str, shard: str) -> tuple[Path, Path]:
        """Where the partitions of a shard lie, and where they lie once it is retired."""
        folder = partition_folder(self._folder, table, shard, ALL)
        return folder, self._retired / folder.relative_to(self._folder)


class MirroredStore(PartitionStore):
    """Partitions are published in an object store; the folder is this machine's copy of them.

    A version has the same name in both, with its digest. It counts once its number is taken: by an
    object of that name without the digest, which holds the name of the version, and whose put fails
    where another has taken the number. Then its writer removes its version.

    Args:
        store: where they are published.
        folder: folder of the warehouse.
        files: files of the same store, with copies in the folder or above it.
    """

    def __init__(self, store: ObjectStore, folder: Path, files: "MirroredFiles"):
        super().__init__(folder)
        self._store = store
        self._files = files
        # The newest version of a partition when this process last looked at it by name: what it
        # decided then is right as long as no other one follows.
        self._seen: dict[tuple[str, str, str], str | None] = {}

    def record_layout(self) -> None:
        """See `PartitionStore.record_layout`."""
        file = self._folder / LAYOUT_FILE
        if not self._files.fetch(file):
            is_filled = any(self._store.listed(table) for table in tables())
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
        folder = partition_folder(self._folder, table, shard, name)
        published = self._refresh(folder, lambda path: partition_of(path) == name)
        self._seen[table, shard, name] = published[-1].name if published else None

    def fetch(self, tables: Collection[str], shards: Collection[str] | None = None) -> None:
        """See `PartitionStore.fetch`."""
        folders: list[Path] = []
        for table in sorted(tables):
            keys = {ALL} if table_schema(table).is_cross_shard else shards
            if keys is None or len(keys) > _MANY_SHARDS:
                folders.append(table_folder(self._folder, table))
            else:
                folders += (partition_folder(self._folder, table, key, ALL) for key in sorted(keys))

        def is_wanted(path: Path) -> bool:
            return shards is None or shard_of(path) in {*shards, ALL}

        in_parallel(lambda folder: self._refresh(folder, is_wanted), folders)

    def publish(self, temporary: Path, table: str, shard: str, name: str) -> None:
        """See `PartitionStore.publish`."""
        folder = partition_folder(self._folder, table, shard, name)
        key = self._key(folder / name)
        keys = self._keys(self._key(folder))
        published = versions_among(self._versions(keys), name)
        newest = published[-1].name if published else None
        if self._seen.get((table, shard, name), newest) != newest:
            path = folder / version_name(name, number_of(newest), temporary)
            # Another machine may have made the very same, as they do of a prompt.
            if path.name != newest:
                raise self._store.conflict(key)
        else:
            number = number_of(newest) + 1
            # What somebody else removed leaves its number behind.
            while self._key(folder / numbered(name, number)) in keys:
                number += 1
            path = folder / version_name(name, number, temporary)
            self._store.put_file(temporary, self._key(path))
            self._take_number(path, key)
        put_in_place(temporary, path)
        self._seen[table, shard, name] = path.name

    def _take_number(self, path: Path, key: str) -> None:
        number = self._key(_number_file(path))
        try:
            self._store.put_new(number, path.name.encode())
        except StoreConflictError as error:
            # With the very same, one object is the version of both.
            if self._store.read(number) != path.name.encode():
                self._store.remove([self._key(path)])
                raise self._store.conflict(key) from error

    def shards_with(self, tables: Collection[str]) -> set[str]:
        """See `PartitionStore.shards_with`."""
        folders = [table_folder(self._folder, table) for table in tables]
        shards = [{str(shard_of(path)) for path in self._published(folder)} for folder in folders]
        return set.intersection(*shards)

    def retired(self) -> set[str]:
        """See `PartitionStore.retired`."""
        marks = map(Path, self._keys(_DOCUMENTS))
        return {str(shard_of(mark)) for mark in marks if mark.name == _RETIRED}

    def retire(self, shard: str) -> None:
        """See `PartitionStore.retire`. They stay in place, and a mark beside them hides them."""
        *others, documents = self._folders_of(shard)
        hidden = [folder for folder in others if self._published(folder)]
        if hidden or self._published(documents):
            # The mark that `retired` finds comes first, and goes last.
            for folder in (documents, *hidden):
                self._store.put_new(self._key(folder / _RETIRED), b"")
                for path in versions(folder):
                    path.unlink(missing_ok=True)

    def restore(self, shard: str) -> None:
        """See `PartitionStore.restore`."""
        for folder in self._folders_of(shard):
            mark = self._key(folder / _RETIRED)
            self._store.remove([key for key in self._keys(self._key(folder)) if key == mark])

    def has_uncopied(self) -> bool:
        """Whether the store has partitions that the folder has not."""
        folders = [table_folder(self._folder, table) for table in tables()]
        newest = (newest_versions(self._published(folder)) for folder in folders)
        return not all(path.exists() for paths in newest for path in paths)

    def publish_all(self) -> int:
        """Publishes what the folder has; returns how many partitions.

        Raises:
            StoreError: the store does not answer; those before are published.
        """
        self.record_layout()
        paths = [info.path for table in tables() for info in list_partitions(self._folder, table)]
        for path in paths:
            self._store.put_file(path, self._key(path))
            self._store.put_new(self._key(_number_file(path)), path.name.encode())
        return len(paths)

    def _refresh(
        self, folder: Path, is_wanted: Callable[[Path], bool] = lambda _: True
    ) -> list[Path]:
        """Brings the copies of partitions below a folder up to date; returns the newest versions.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
            OSError: the disk refused.
        """
        # First: what another process of this machine publishes later is in the store by then.
        copies = [path for path in _copies(folder) if is_wanted(path)]
        published = list(filter(is_wanted, self._published(folder)))
        newest = {version_key(path): path for path in newest_versions(published)}
        for path in set(copies).difference(published):
            # Retired; what was swept in the store stays here for whoever reads it.
            following = newest.get(version_key(path))
            if following is None or path > following:
                path.unlink(missing_ok=True)
        missing = [path for path in newest.values() if not path.exists()]
        fetched = sum(in_parallel(self._fetch, missing))
        if missing:
            _LOGGER.info(
                "fetched %s in %s: %s bytes", len(missing), self._key(folder), f"{fetched:,}"
            )
        return list(newest.values())

    def _fetch(self, path: Path) -> int:
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
                put_in_place(temporary, path)
        except FileNotFoundError:
            # Retired meanwhile.
            return 0
        for old in superseded(versions(path.parent, partition_of(path))):
            old.unlink(missing_ok=True)
        return size

    def _published(self, folder: Path) -> list[Path]:
        """Where the versions below a folder lie, or would lie, on this machine; newest last."""
        return self._versions(self._keys(self._key(folder)))

    def _versions(self, keys: Iterable[str]) -> list[Path]:
        """The versions among these objects whose numbers are theirs, as `versions_among` does."""
        paths = {self._folder / key for key in keys if key.count("/") == 2}
        retired = {path.parent for path in paths if path.name == _RETIRED}
        candidates = versions_among(
            path for path in paths if shard_of(path) and path.parent not in retired
        )
        writers = Counter(map(_number_file, candidates))
        return [
            path
            for path in candidates
            if _number_file(path) in paths
            and (writers[_number_file(path)] == 1 or self._has_its_number(path))
        ]

    def _has_its_number(self, path: Path) -> bool:
        return self._store.read(self._key(_number_file(path))) == path.name.encode()

    def _folders_of(self, shard: str) -> list[Path]:
        """The folders of a shard's partitions, that of its documents last."""
        names = sorted(_cut_by_shard(), key=lambda table: table == _DOCUMENTS)
        return [partition_folder(self._folder, table, shard, ALL) for table in names]

    def _keys(self, folder: str) -> list[str]:
        return [stored.path for stored in self._store.listed(folder)]

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _number_file(path: Path) -> Path:
    """What says that the number of a version is taken."""
    return path.with_name(numbered(partition_of(path) or "", number_of(path.name)))


def _copies(folder: Path) -> list[Path]:
    """The versions that lie in the folder of a table or of a partition."""
    if folder.name.startswith("shard="):
        return versions(folder)
    paths = (path for shard in folder.glob("shard=*") for path in versions(shard))
    return [path for path in paths if shard_of(path) != EMPTY_SHARD]


def _cut_by_shard() -> list[str]:
    return [name for name, schema in tables().items() if not schema.is_cross_shard]


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    except OSError as error:
        raise StorageError(
            f"Cannot move '{source}' to '{target}': {error}. Check the permissions and the free "
            "space of the folder, then run the command again."
        ) from error
