"""Where partitions are published: the folder of the warehouse.

A version of a catalogue (`catalogue.py`) is written once: whoever comes second takes over what the
first one published, and is refused only where that is the same partition.
"""

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from toolformer.base.parallel import in_parallel
from toolformer.base.whole_files import remove_abandoned, replacing
from warehouse.catalogue import KEPT_SECONDS, Catalogue, Entry, file_path, parsed
from warehouse.errors import DamagedPartitionError
from warehouse.layout import (
    CATALOGUE_FOLDER,
    RETIRED,
    catalogue_file,
    names_in,
    partition_of,
    record_layout,
    retired_catalogue_file,
)
from warehouse.partitions import storage_error
from warehouse.published import catalogues, path_of, retired_in, shards_in
from warehouse.schema import tables


class PartitionStore:
    """Partitions are published in a folder, for all machines that see it.

    What is read lies in that folder in any case.

    Args:
        folder: folder of the warehouse.
        is_copy: whether the folder is a copy, so that files are missing until rows are read.
    """

    def __init__(self, folder: Path, *, is_copy: bool = False):
        self._folder = folder
        self.is_copy = is_copy

    def record_layout(self) -> None:
        """Makes sure that the layout of the partitions is this one, and is recorded.

        Raises:
            LayoutError: they are of another layout.
        """
        record_layout(self._folder)

    def refresh(self, table: str, shard: str, name: str) -> None:
        """Makes sure that the folder has the newest catalogue of a shard.

        What is decided of this partition now holds as long as no other version follows.
        """

    def fetch(
        self,
        table_names: Collection[str],
        shards: Collection[str] | None = None,
        *,
        with_rows: bool = True,
    ) -> None:
        """Makes sure that the folder has the newest versions of the partitions of these tables.

        Args:
            table_names: names of tables.
            shards: only the partitions of these, of tables that are cut by shard; by default all.
            with_rows: whether their files too, and not only their catalogues.
        """

    def publish(self, made: Mapping[str, Sequence[Entry]]) -> None:
        """Makes partitions that were written the newest ones: those of each shard all at once.

        Raises:
            StorageError: the partitions of some shards are as they were.
        """
        with self._alone():
            following = [self._current(shard).with_entries(made[shard]) for shard in made]
            in_parallel(self._place, following)
        for shard, entries in made.items():
            self._remove_unnamed(self._current(shard), {entry.table for entry in entries})

    def shards_with(self, table_names: Collection[str]) -> set[str]:
        """Returns the shards that have partitions of all these tables."""
        self.fetch(table_names, with_rows=False)
        return {
            each.shard
            for each in catalogues(self._folder, table_names)
            if all(self._has(each, table) for table in table_names)
        }

    def _has(self, catalogue: Catalogue, table: str) -> bool:
        """Whether there are partitions of a table, and all of them can be read."""
        try:
            paths = [
                path_of(self._folder, entry, catalogue.shard)
                for entry in catalogue.entries([table])
            ]
        except DamagedPartitionError:
            return False
        return bool(paths) and all(not path or self.is_copy or path.exists() for path in paths)

    def retired(self) -> set[str]:
        """Returns the shards that were taken out."""
        self.fetch((), with_rows=False)
        return retired_in(self._folder)

    def retire(self, shard: str) -> None:
        """Takes the partitions of a shard out; a kill leaves what the next call finishes.

        Raises:
            StorageError: the file system refused.
        """
        self._change(shard, is_retired=True)

    def restore(self, shard: str) -> None:
        """Takes the partitions of a retired shard in again; see `retire`."""
        self._change(shard, is_retired=False)

    def _change(self, shard: str, *, is_retired: bool) -> None:
        with self._alone():
            current = self._current(shard)
            if not current.number:
                return
            if not is_retired:
                self._move_files(shard, is_retired=False)
            if current.is_retired != is_retired:
                current = replace(current, number=current.number + 1, is_retired=is_retired)
            self._place(current)
            if is_retired:
                self._move_files(shard, is_retired=True)

    def _move_files(self, shard: str, *, is_retired: bool) -> None:
        """Moves the files of a shard out of the folders of the tables, for who reads these."""
        for table in tables():
            places = [
                folder / table / f"shard={shard}"
                for folder in (self._folder, self._folder.parent / RETIRED)
            ]
            source, target = places if is_retired else reversed(places)
            for name in names_in(source):
                try:
                    target.mkdir(parents=True, exist_ok=True)
                    (source / name).replace(target / name)
                except OSError as error:
                    raise storage_error(target / name, error) from error
            with suppress(OSError):
                source.rmdir()

    def _current(self, shard: str) -> Catalogue:
        """The catalogue of a shard, in the corpus or taken out of it.

        Its file is opened: a shared folder tells for a while of the version before (NFS), and what
        is published next would be without what another machine has published.
        """
        found = [Catalogue(shard)]
        for file in (catalogue_file, retired_catalogue_file):
            with suppress(FileNotFoundError):
                found.append(parsed(file(self._folder, shard).read_bytes(), shard))
        # A kill can leave both.
        return max(found, key=lambda catalogue: catalogue.number)

    def _place(self, catalogue: Catalogue) -> None:
        """Gives a catalogue its place in the folder."""
        files = [
            catalogue_file(self._folder, catalogue.shard),
            retired_catalogue_file(self._folder, catalogue.shard),
        ]
        target, other = reversed(files) if catalogue.is_retired else files
        try:
            with replacing(target) as temporary:
                temporary.write_bytes(catalogue.content())
            other.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(target, error) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from changing catalogues: each takes milliseconds."""
        folder = self._folder / CATALOGUE_FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise storage_error(folder / ".lock", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def sweep(self, shards: Collection[str]) -> None:
        """Removes what was replaced so long ago that nobody reads it, and what was never published.

        Args:
            shards: of these all is looked at, of others the tables in which something was replaced.
        """
        remove_abandoned((self._folder / CATALOGUE_FOLDER).glob("*.tmp"))
        for shard in shards_in(self._folder):
            with suppress(DamagedPartitionError):
                catalogue = self._current(shard)
                replaced = (each.table for each in catalogue.entries() if each.replaced)
                self._remove_unnamed(catalogue, tables() if shard in shards else {*replaced})

    def _remove_unnamed(self, catalogue: Catalogue, table_names: Collection[str]) -> None:
        """Removes files of tables of a shard that nobody reads, and nobody can publish any more."""
        shard = catalogue.shard
        try:
            kept = catalogue.files_to_keep()
        except DamagedPartitionError:
            # What a damaged line names is wanted once a copy of it is put back.
            return
        limit = time.time() - KEPT_SECONDS
        for table in table_names:
            folder = self._folder / table / f"shard={shard}"
            paths = [folder / name for name in names_in(folder)]
            remove_abandoned(path for path in paths if path.suffix == ".tmp")
            for path in paths:
                if partition_of(path) and file_path(table, shard, path.name) not in kept:
                    with suppress(FileNotFoundError):
                        # One that was just written is about to be published.
                        if path.stat().st_mtime < limit:
                            path.unlink()
