"""What the warehouse asks of the place where its slices are published.

In a folder, a slice is published by its file's name, as `versions.py` says. With an object store
the folder is this machine's copy, and a slice is published by its pointer there.
"""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from warehouse import damage
from warehouse.errors import StoreConflictError
from warehouse.layout import list_slices, slice_folder, slice_path
from warehouse.layout_version import LAYOUT_FILE, check_layout, layout_error, record_layout
from warehouse.schema import ALL, tables
from warehouse.versions import newest_version, publish, superseded, versions

if TYPE_CHECKING:
    from warehouse.store.objects import ObjectStore

_SLICES, _RETIRED = "slices/", "retired/"
# Of fewer shards the slices are listed shard by shard, else all slices at once.
_MANY_SHARDS = 16


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

    Args:
        store: where they are published.
        folder: of the warehouse.
        cache: folder of this machine, for the record of the copies.
    """

    def __init__(self, store: "ObjectStore", folder: Path, cache: Path):
        from warehouse.store.files import MirroredFiles
        from warehouse.store.mirror import Mirror

        self._folder = folder
        self._mirror = Mirror(store, cache, _SliceLayout(folder))
        self._files = MirroredFiles(store, folder, cache)

    def record_layout(self) -> None:
        """See `SliceStore.record_layout`."""
        file = self._folder / LAYOUT_FILE
        if not self._files.bring(file):
            if self._mirror.store.tags(_SLICES):
                raise layout_error(self._mirror.store.url, "none")
            record_layout(self._folder)
            with suppress(StoreConflictError):
                self._files.publish(file)
            self._files.bring(file)
        check_layout(self._folder)

    def look(self, table: str, shard: str, name: str) -> None:
        """See `SliceStore.look`."""
        self._mirror.look(_place(table, shard, name))

    def bring(self, tables: Collection[str], shards: Collection[str] | None = None) -> None:
        """See `SliceStore.bring`."""
        prefixes = [_SLICES]
        if shards is not None and len(shards) < _MANY_SHARDS:
            prefixes = [f"{_SLICES}{shard}/" for shard in sorted({*shards, ALL})]
        for prefix in prefixes:
            self._mirror.refresh(prefix, lambda place: _is_among(place, tables, shards))

    def publish(self, temporary: Path, table: str, shard: str, name: str) -> None:
        """See `SliceStore.publish`."""
        folder = slice_folder(self._folder, table, shard, name)
        with self._mirror.publishing(_place(table, shard, name), {"": temporary}):
            publish(temporary, folder, name)

    def shards_with(self, tables: Collection[str]) -> set[str]:
        """See `SliceStore.shards_with`."""
        shards: dict[str, set[str]] = {table: set() for table in tables}
        for place in self._mirror.store.tags(_SLICES):
            table, shard, _ = _address(place)
            if table in shards:
                shards[table].add(shard)
        return set.intersection(*shards.values())

    def retired(self) -> set[str]:
        """See `SliceStore.retired`."""
        return {place.split("/")[1] for place in self._mirror.store.tags(_RETIRED)}

    def retire(self, shard: str) -> Path | None:
        """See `SliceStore.retire`. What is aside lies in the store alone, in no folder."""
        self._move(_SLICES, _RETIRED, shard)

    def restore(self, shard: str) -> int:
        """See `SliceStore.restore`."""
        return self._move(_RETIRED, _SLICES, shard)

    def copies(self) -> list[str]:
        """The places of which this machine has a copy."""
        return self._mirror.copies("")

    def publish_all(self) -> int:
        """Publishes what the folder has; returns how many slices.

        Raises:
            StoreError: the store does not answer; those before are published.
        """
        self.record_layout()
        found = [info for table in tables() for info in list_slices(self._folder, table)]
        for info in found:
            place = _place(info.table, info.shard, info.name)
            with self._mirror.publishing(place, {"": info.path}):
                pass
        return len(found)

    def _move(self, source: str, target: str, shard: str) -> int:
        places = self._mirror.store.tags(f"{source}{shard}/")
        for place in places:
            self._mirror.move(place, target + place.removeprefix(source))
        return len(places)


class _SliceLayout:
    """Each slice as a version of its own: the stamp is the time at which it came here."""

    def __init__(self, folder: Path):
        self._folder = folder

    def holds(self, place: str) -> bool:
        table, shard, name = _address(place)
        return slice_path(self._folder, table, shard, name) is not None

    def near(self, place: str) -> Path:
        table, shard, name = _address(place)
        return slice_folder(self._folder, table, shard, name) / f"{name}.parquet"

    def settle(self, place: str, fetched: Path) -> None:
        from warehouse.store.mirror import ONLY_FILE

        table, shard, name = _address(place)
        folder = slice_folder(self._folder, table, shard, name)
        publish(fetched / ONLY_FILE, folder, name)
        for old in superseded(versions(folder, name)):
            old.unlink(missing_ok=True)

    def drop(self, place: str) -> None:
        if not place.startswith(_SLICES):
            return
        table, shard, name = _address(place)
        folder = slice_folder(self._folder, table, shard, name)
        while (path := newest_version(folder, name)) is not None:
            path.unlink(missing_ok=True)


def _place(table: str, shard: str, name: str) -> str:
    # By shard first: a stage asks for the slices of one.
    return f"{_SLICES}{shard}/{table}/{name}"


def _is_among(place: str, tables: Collection[str], shards: Collection[str] | None) -> bool:
    table, shard, _ = _address(place)
    return table in tables and (shards is None or shard == ALL or shard in shards)


def _address(place: str) -> tuple[str, str, str]:
    shard, table, name = place.removeprefix(_SLICES).split("/")
    return table, shard, name
