"""Publishes partitions by replacing a shard's catalogue under the shard's lock.

A process that is killed at any step leaves the old catalogue or the new one with all its files.
`Publisher.sweep` later removes files that no catalogue names.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock

from toolformer.base.atomic_files import flush, remove_abandoned
from toolformer.base.parallel import in_parallel
from warehouse.catalogue import Catalogue, Entry, read_catalogue, read_file, remember, shards_in
from warehouse.counting import counts_version, with_new_counts
from warehouse.errors import DamagedPartitionError, StorageError
from warehouse.layout import CATALOGUE_FOLDER, RETIRED, catalogue_file, names_in
from warehouse.partitions import storage_error, storing
from warehouse.schema import tables

Locks = Callable[[str], BaseFileLock]
"""Function that returns the lock of a name, exclusive among all processes on all machines."""

# Superseded files stay on disk this long for queries that still read them. A new file that is not
# published by then is removed too, and its publication fails.
GRACE_SECONDS = 600.0

_LOGGER = logging.getLogger(__name__)


def locks_in(folder: Path) -> Locks:
    def lock(name: str) -> BaseFileLock:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", thread_local=False)

    return lock


class Publisher:
    def __init__(self, folder: Path, locks: Locks):
        self._folder = folder
        self._locks = locks

    def publish(self, made: Mapping[str, Sequence[Entry]]) -> None:
        """Publish entries whose files were written, atomically per shard.

        If one shard fails with a StorageError, other shards may have been published.
        """
        in_parallel(lambda shard: self._publish(shard, made[shard]), made)

    def _publish(self, shard: str, entries: Sequence[Entry]) -> None:
        with self._lock(shard):
            path, current = self._current(shard)
            for entry in entries:
                self._check_file(entry, shard)
                if old := current.partitions.get((entry.table, entry.name)):
                    self._reset_age(old, shard)
            following = current.with_entries(entries)
            self._write(path, following)
            published = [following.partitions[entry.table, entry.name] for entry in entries]
            self._remove_old(
                relative for entry in published for relative in entry.superseded_paths(shard)
            )

    def _check_file(self, entry: Entry, shard: str) -> None:
        if (relative := entry.path(shard)) is None:
            return
        path = self._folder / relative
        try:
            # NFS reports that a file was removed only to a process that opens it.
            with path.open("rb") as stream:
                is_whole = os.fstat(stream.fileno()).st_size == entry.size
        except FileNotFoundError:
            is_whole = False
        if not is_whole:
            raise StorageError(
                f"'{path}' was not published: the file is missing or incomplete. Its writer paused "
                f"for longer than {GRACE_SECONDS / 60:.0f} minutes, or the file was removed. "
                "Nothing was replaced. Run the same command again."
            )

    def _reset_age(self, old: Entry, shard: str) -> None:
        if relative := old.path(shard):
            # Another user's file keeps its age, so its readers may have to start again.
            with suppress(OSError):
                os.utime(self._folder / relative)

    def _current(self, shard: str) -> tuple[Path, Catalogue]:
        """Return path and content of a shard's catalogue, retired or not; empty if damaged.

        An unreadable catalogue may be intact, so it is not replaced and StorageError is raised.
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
            _LOGGER.warning("%s The catalogue is replaced now.", error)
            return Path(path), Catalogue(shard)
        return (Path(active), Catalogue(shard)) if found is None else (Path(path), found)

    def _write(self, path: Path, catalogue: Catalogue) -> None:
        with storing(path) as temporary:
            temporary.write_bytes(catalogue.content())
        remember(path, catalogue)

    def recount(self) -> None:
        for shard in shards_in(self._folder):
            # Damage is reported when the partition is read.
            with suppress(DamagedPartitionError):
                found = read_catalogue(self._folder, shard).entries()
                if older := [entry for entry in found if entry.counted_by != counts_version()]:
                    counted = [with_new_counts(self._folder, shard, entry) for entry in older]
                    with self._lock(shard):
                        path, current = self._current(shard)
                        partitions = dict(current.partitions)
                        for entry in counted:
                            key = entry.table, entry.name
                            if key in partitions and partitions[key].version == entry.version:
                                partitions[key] = entry
                        self._write(path, Catalogue(shard, partitions))

    def retire(self, shard: str) -> None:
        self._move(shard, is_retired=True)

    def restore(self, shard: str) -> None:
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
                    # The rename is atomic: readers see the whole shard or nothing of it.
                    source.rename(target)
                    flush(target.parent)
                    flush(source.parent)
            except OSError as error:
                raise storage_error(target, error) from error

    def sweep(self, shards: Collection[str]) -> None:
        """Remove superseded files after their grace period.

        In the given shards also remove files that no catalogue names, left by killed writers.
        """
        folder = self._folder / CATALOGUE_FOLDER
        remove_abandoned([*folder.glob("*.tmp"), *(folder / RETIRED).glob("*.tmp")])
        for shard in shards_in(self._folder):
            with suppress(DamagedPartitionError):
                if shard in shards:
                    with self._lock(shard):
                        # Without a catalogue all files stay, since a backup of it may be restored.
                        if catalogue := read_file(catalogue_file(self._folder, shard), shard):
                            self._remove_unnamed(catalogue, tables())
                else:
                    catalogue = read_catalogue(self._folder, shard)
                    entries = (entry for entry in catalogue.entries() if entry.superseded)
                    # A superseded version never becomes current again, so no lock is needed.
                    self._remove_old(
                        relative for entry in entries for relative in entry.superseded_paths(shard)
                    )

    def _remove_unnamed(self, catalogue: Catalogue, table_names: Collection[str]) -> None:
        shard = catalogue.shard
        named = {entry.path(shard) for entry in catalogue.entries(table_names)}
        folders = (f"{table}/shard={shard}" for table in table_names)
        found = (f"{each}/{name}" for each in folders for name in names_in(self._folder / each))
        self._remove_old(relative for relative in found if relative not in named)

    def _remove_old(self, paths: Iterable[str]) -> None:
        limit = None
        for path in map(self._folder.joinpath, paths):
            # A publication must not fail because an old file is missing, is a folder, belongs to
            # another user or is open on NFS.
            with suppress(OSError):
                changed = path.stat().st_mtime
                # Clocks of machines differ, so the clock of the file system decides.
                limit = limit or _file_system_time(path.parent) - GRACE_SECONDS
                if changed < limit:
                    path.unlink()

    def _lock(self, shard: str) -> BaseFileLock:
        return self._locks(f"catalogue of {shard}")


def _file_system_time(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime
