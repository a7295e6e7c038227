"""Publishes partitions: replaces catalogues under the lock of their shard.

A kill between any two steps leaves the old catalogue, or the new one with all its files. Files that
no catalogue names are removed later; see `sweep`.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock

from toolformer.base.parallel import in_parallel
from toolformer.base.whole_files import flush, remove_abandoned
from warehouse.catalogue import Catalogue, Entry, read_catalogue, read_file, remember, shards_in
from warehouse.counting import counts_version, recounted
from warehouse.errors import DamagedPartitionError, StorageError
from warehouse.layout import CATALOGUE_FOLDER, RETIRED, catalogue_file, names_in
from warehouse.partitions import storage_error, storing
from warehouse.schema import tables

Locks = Callable[[str], BaseFileLock]
"""Gives the lock of a name, which no other process of any machine holds at the same time."""

# Queries that began with a superseded file read it this long. A file that its writer has not
# published by then is removed, and its publication fails.
KEPT_SECONDS = 600.0

_LOGGER = logging.getLogger(__name__)


def locks_in(folder: Path) -> Locks:
    """Return plain file locks in a folder."""

    def lock(name: str) -> BaseFileLock:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", thread_local=False)

    return lock


class Publisher:
    """Changes the catalogues of a warehouse."""

    def __init__(self, folder: Path, locks: Locks):
        self._folder = folder
        self._locks = locks

    def publish(self, made: Mapping[str, Sequence[Entry]]) -> None:
        """Replace partitions by ones whose files were written; of each shard all at once.

        Raises:
            StorageError: The disk refused, or a file is gone. Shards published before stay so.
        """
        in_parallel(lambda shard: self._publish(shard, made[shard]), made)

    def _publish(self, shard: str, entries: Sequence[Entry]) -> None:
        with self._lock(shard):
            path, current = self._current(shard)
            for entry in entries:
                self._check_there(entry, shard)
                if old := current.partitions.get((entry.table, entry.name)):
                    self._keep_for_readers(old, shard)
            following = current.with_entries(entries)
            self._write(path, following)
            published = [following.partitions[entry.table, entry.name] for entry in entries]
            self._remove_old(
                below for entry in published for below in entry.superseded_paths(shard)
            )

    def _check_there(self, entry: Entry, shard: str) -> None:
        if (below := entry.path(shard)) is None:
            return
        path = self._folder / below
        try:
            # NFS reports a removed file only to a process that opens it.
            with path.open("rb") as stream:
                is_whole = os.fstat(stream.fileno()).st_size == entry.size
        except FileNotFoundError:
            is_whole = False
        if not is_whole:
            raise StorageError(
                f"'{path}' was not published: it is gone, since its writer paused for longer than "
                f"{KEPT_SECONDS / 60:.0f} minutes or somebody removed it. Nothing was replaced. "
                "Run the same again."
            )

    def _keep_for_readers(self, old: Entry, shard: str) -> None:
        """Let the age of a file that is about to be superseded begin now."""
        if below := old.path(shard):
            # Of another user's file the age stays: its readers have to begin again.
            with suppress(OSError):
                os.utime(self._folder / below)

    def _current(self, shard: str) -> tuple[Path, Catalogue]:
        """Return the catalogue of a shard, retired or not, and its path; empty if it is damaged.

        Raises:
            StorageError: The catalogue cannot be read. It may be sound, so it is not replaced.
        """
        path = active = catalogue_file(self._folder, shard)
        try:
            found = read_file(active, shard)
            if found is None:
                path = catalogue_file(self._folder, shard, is_retired=True)
                found = read_file(path, shard)
        except DamagedPartitionError as error:
            if isinstance(error.__cause__, OSError):
                raise storage_error(Path(path), error.__cause__) from error
            _LOGGER.warning("%s It is replaced now.", error)
            return Path(path), Catalogue(shard)
        return (Path(active), Catalogue(shard)) if found is None else (Path(path), found)

    def _write(self, path: Path, catalogue: Catalogue) -> None:
        with storing(path) as temporary:
            temporary.write_bytes(catalogue.content())
        remember(path, catalogue)

    def recount(self) -> None:
        """Store the counts of all partitions that another version counted."""
        for shard in shards_in(self._folder):
            # Whoever reads the damaged partition says so.
            with suppress(DamagedPartitionError):
                found = read_catalogue(self._folder, shard).entries()
                if older := [entry for entry in found if entry.counted_by != counts_version()]:
                    counted = [recounted(self._folder, shard, entry) for entry in older]
                    with self._lock(shard):
                        path, current = self._current(shard)
                        partitions = dict(current.partitions)
                        for entry in counted:
                            key = entry.table, entry.name
                            if key in partitions and partitions[key].version == entry.version:
                                partitions[key] = entry
                        self._write(path, Catalogue(shard, partitions))

    def retire(self, shard: str) -> None:
        """Take the partitions of a shard out of the corpus; does nothing if they are out.

        Raises:
            StorageError: The file system refused.
        """
        self._move(shard, is_retired=True)

    def restore(self, shard: str) -> None:
        """Take the partitions of a retired shard into the corpus again; see `retire`."""
        self._move(shard, is_retired=False)

    def _move(self, shard: str, *, is_retired: bool) -> None:
        source, target = (
            Path(catalogue_file(self._folder, shard, is_retired=retired))
            for retired in (not is_retired, is_retired)
        )
        with self._lock(shard):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    # One rename: readers see the shard or do not, and a kill leaves no half.
                    source.rename(target)
                    flush(target.parent)
                    flush(source.parent)
            except OSError as error:
                raise storage_error(target, error) from error

    def sweep(self, shards: Collection[str]) -> None:
        """Remove superseded files, and files of killed writers, that nobody reads any more.

        Args:
            shards: All files of these are looked at; of other shards only the superseded ones.
        """
        folder = self._folder / CATALOGUE_FOLDER
        remove_abandoned([*folder.glob("*.tmp"), *(folder / RETIRED).glob("*.tmp")])
        for shard in shards_in(self._folder):
            with suppress(DamagedPartitionError):
                if shard in shards:
                    with self._lock(shard):
                        # Without a catalogue all files may be wanted once a copy is put back.
                        if catalogue := read_file(catalogue_file(self._folder, shard), shard):
                            self._remove_unnamed(catalogue, tables())
                else:
                    catalogue = read_catalogue(self._folder, shard)
                    entries = (entry for entry in catalogue.entries() if entry.superseded)
                    # Versions are never named again, so no lock is needed.
                    self._remove_old(
                        below for entry in entries for below in entry.superseded_paths(shard)
                    )

    def _remove_unnamed(self, catalogue: Catalogue, table_names: Collection[str]) -> None:
        shard = catalogue.shard
        named = {entry.path(shard) for entry in catalogue.entries(table_names)}
        folders = (f"{table}/shard={shard}" for table in table_names)
        found = (f"{below}/{name}" for below in folders for name in names_in(self._folder / below))
        self._remove_old(below for below in found if below not in named)

    def _remove_old(self, below: Iterable[str]) -> None:
        limit = None
        for path in map(self._folder.joinpath, below):
            # Gone, or a folder, or another user's, or held open on NFS: no publication fails by it.
            with suppress(OSError):
                changed = path.stat().st_mtime
                # By the clock that stamps files: clocks of machines differ.
                limit = limit or _time_of_files(path.parent) - KEPT_SECONDS
                if changed < limit:
                    path.unlink()

    def _lock(self, shard: str) -> BaseFileLock:
        return self._locks(f"catalogue of {shard}")


def _time_of_files(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime
