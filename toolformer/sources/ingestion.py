"""Brings the manifest in line with a list of sources.

Does not touch shards whose records are the same as before, whatever happened to their files. A
source that is missing or not listed keeps its shards: a disk that is not mounted, or other settings
for one run, must not cost what was computed from them. Only `retire_source` removes a source, and
records that come back get their old shards.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from toolformer.ground.digests import hex_digest
from toolformer.ground.whole_files import flush
from toolformer.sources.cutting import CutSlice, Progress, cut_source, remove_cut_slices
from toolformer.sources.errors import SourceError
from toolformer.sources.files import SourceFile, file_identity, list_files
from toolformer.sources.manifest import (
    Manifest,
    ShardEntry,
    check_complete,
    is_held_out,
    retired_slice_path,
    shard_key,
    slice_path,
)
from toolformer.sources.slices import SLICE_VERSION, write_error
from toolformer.sources.source import Source


@dataclass(frozen=True, slots=True)
class RejectedSource:
    """A source that could not be used.

    Attributes:
        source: as it was given.
        error: why; shards that were cut from it earlier stay.
    """

    source: Source
    error: SourceError


@dataclass(slots=True)
class ManifestUpdate:
    """What an update did.

    Attributes:
        added: new shards.
        retired: shards that were active before and are not any more.
        restored: shards that were retired before and are active again.
        rejected_sources: sources that could not be used, with the error.
        unlisted: names of sources that have active shards and were not listed.
    """

    added: list[ShardEntry] = field(default_factory=list)
    retired: list[ShardEntry] = field(default_factory=list)
    restored: list[ShardEntry] = field(default_factory=list)
    rejected_sources: list[RejectedSource] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def update_manifest(
    folder: Path,
    sources: Sequence[Source],
    *,
    held_out_every: int,
    progress: Progress | None = None,
) -> ManifestUpdate:
    """Registers new shards and retires those whose records changed.

    A source whose files are as they were is not read. A source with any change is cut anew, and
    shards whose records came out the same keep their keys; a retired one with these records is
    active again. The manifest is written after each source, when its slices are in place: an
    update that is interrupted loses nothing it had registered, and the next one removes what was
    left half done.

    Args:
        folder: `$TOOLFORMER_HOME/sources`; made where it is missing.
        sources: all sources of the corpus, in order.
        held_out_every: every n-th shard by number is held out from training; 0 for none.
        progress: told about each cut slice.

    Returns:
        What was done. A source that cannot be used is in `rejected_sources` and stops no other.

    Raises:
        ValueError: `held_out_every` is negative.
        DamagedRawSliceError: the manifest cannot be read, is missing, or is older than the slices.
        SliceWriteError: the disk is full or the folder not writable.
    """
    if held_out_every < 0:
        raise ValueError(
            f"held_out_every is {held_out_every}. Expected 0 for no held-out shards, or how many "
            "shards there are to each held-out one. Correct the setting."
        )
    with locked(folder):
        return _Update(folder, held_out_every, progress).run(sources)


def retire_source(folder: Path, name: str) -> list[ShardEntry]:
    """Retires all shards of a source, and moves their slices aside; returns them.

    Raises:
        DamagedRawSliceError, SliceWriteError: see `update_manifest`.
    """
    with locked(folder):
        update = _Update(folder)
        update.retire(update.active(name), forget=name)
        return update.result.retired


def stale_sources(
    folder: Path, sources: Sequence[Source]
) -> tuple[list[Source], list[RejectedSource]]:
    """The sources that `update_manifest` would cut anew, and those it cannot use; changes nothing.

    Raises:
        DamagedRawSliceError: see `update_manifest`.
    """
    update = _Update(folder)
    stale = [source for source, _, _ in update.stale(sources)]
    return stale, update.result.rejected_sources


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps others from changing the manifest of a folder; makes its folders.

    Raises:
        SliceWriteError: the folder is not writable.
    """
    with ExitStack() as held:
        try:
            for path in (slice_path(folder, ""), retired_slice_path(folder, "")):
                path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / "manifest.lock"))
        except OSError as error:
            raise write_error(folder, error) from error
        yield


class _Update:
    """One update, under the lock."""

    def __init__(
        self,
        folder: Path,
        held_out_every: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.folder = folder
        self.held_out_every = held_out_every
        self.progress = progress or (lambda _name, _records: None)
        self.manifest = Manifest.load(folder)
        check_complete(folder, self.manifest)
        self.result = ManifestUpdate()
        self.listed: set[str] = set()
        self.owner_of_file: dict[str, str] = {}

    def run(self, sources: Sequence[Source]) -> ManifestUpdate:
        self._remove_leftovers()
        self.listed = {source.name for source in sources}
        folder = slice_path(self.folder, "").parent
        for source, files, identity in self.stale(sources):
            try:
                cut = list(cut_source(folder, source, files, self.progress))
                self._replace(source.name, identity, cut)
            except SourceError as error:
                self.result.rejected_sources.append(RejectedSource(source, error))
        active = {entry.source for entry in self.manifest.active_shards}
        self.result.unlisted = sorted(active - self.listed)
        return self.result

    def stale(self, sources: Sequence[Source]) -> Iterator[tuple[Source, list[SourceFile], str]]:
        """Sources to be cut anew, with their files and identities; the unusable are rejected."""
        seen: dict[str, Source] = {}
        for source in sources:
            if seen.get(source.name) == source:
                continue
            try:
                if source.name in seen:
                    raise SourceError(
                        f"The source {source.name!r} is listed twice with different settings. "
                        "Expected each source once. Remove one of the two."
                    )
                seen[source.name] = source
                files = list_files(source)
                self._claim(source, files)
                identity = _identity(source, files)
            except SourceError as error:
                self.result.rejected_sources.append(RejectedSource(source, error))
                continue
            before = self.active(source.name)
            is_complete = all(slice_path(self.folder, entry.key).exists() for entry in before)
            if self.manifest.identities.get(source.name) != identity or not is_complete:
                yield source, files, identity

    def active(self, name: str) -> list[ShardEntry]:
        return [entry for entry in self.manifest.active_shards if entry.source == name]

    def _claim(self, source: Source, files: list[SourceFile]) -> None:
        """Refuses a file of two sources: its documents would be in the corpus twice."""
        for file in files:
            owner = self.owner_of_file.setdefault(file.path, source.name)
            if owner != source.name:
                raise SourceError(
                    f"The file {file.name!r} of source {source.path!r} also belongs to source "
                    f"{owner!r}. Expected each file in one source. Narrow one of the two patterns."
                )

    def _replace(self, name: str, identity: str, cut: list[CutSlice]) -> None:
        """Puts slices in place, then the manifest, then moves retired slices aside."""
        before = self.active(name)
        known = self._known_shards(name)
        kept: dict[str, ShardEntry] = {}
        added: list[ShardEntry] = []
        for slice_ in cut:
            same = known.get(slice_.digest)
            if same is None:
                number = self.manifest.next_number + len(added)
                added.append(self._new_entry(number, name, slice_))
            else:
                kept[same.key] = replace(
                    same, source=name, first_record=slice_.first_record, status="active"
                )
        # The keys are reserved before a slice has one: a slice with a key beyond shows that the
        # manifest is an old one.
        self.manifest.next_number += len(added)
        self.manifest.reserved = len(added)
        self.manifest.save(self.folder)
        self._place(cut, [*kept.values(), *added])
        for entry in self.manifest.shards:
            if entry.key in kept and entry.status == "active" and entry.source != name:
                # Not all of that source's shards are its own any more: it is to be cut again.
                self.manifest.identities.pop(entry.source, None)
        restored = [
            kept[entry.key]
            for entry in self.manifest.shards
            if entry.key in kept and entry.status == "retired"
        ]
        self.manifest.shards = [kept.get(entry.key, entry) for entry in self.manifest.shards]
        self.manifest.shards += added
        self.manifest.reserved = 0
        self.manifest.identities[name] = identity
        self.retire([entry for entry in before if entry.key not in kept])
        self.result.added += added
        self.result.restored += restored
        for entry in restored:
            with suppress(OSError):  # what was cut again has taken its place
                retired_slice_path(self.folder, entry.key).unlink()

    def _known_shards(self, name: str) -> dict[str, ShardEntry]:
        """By digest the shards that these records may get: the source's own, or nobody's."""
        free = [
            entry
            for entry in self.manifest.shards
            if entry.status == "retired" or entry.source == name or entry.source not in self.listed
        ]
        # The last one counts: rather an active one, rather the source's own, rather a later one.
        free.sort(key=lambda entry: (entry.status == "active", entry.source == name))
        return {entry.digest: entry for entry in free}

    def _place(self, cut: list[CutSlice], entries: list[ShardEntry]) -> None:
        key_of = {entry.digest: entry.key for entry in entries}
        try:
            for slice_ in cut:
                slice_.path.replace(slice_path(self.folder, key_of[slice_.digest]))
            flush(slice_path(self.folder, "").parent)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def _new_entry(self, number: int, name: str, slice_: CutSlice) -> ShardEntry:
        return ShardEntry(
            key=shard_key(number),
            source=name,
            first_record=slice_.first_record,
            records=slice_.records,
            digest=slice_.digest,
            is_held_out=is_held_out(number, every=self.held_out_every),
        )

    def retire(self, entries: list[ShardEntry], forget: str | None = None) -> None:
        """Marks shards as retired, saves, and moves their slices aside."""
        keys = {entry.key for entry in entries}
        self.manifest.shards = [
            replace(entry, status="retired") if entry.key in keys else entry
            for entry in self.manifest.shards
        ]
        if forget is not None:
            self.manifest.identities.pop(forget, None)
        self.manifest.save(self.folder)
        self.result.retired += [entry for entry in self.manifest.shards if entry.key in keys]
        self._move_retired_slices()

    def _move_retired_slices(self) -> None:
        for entry in self.manifest.shards:
            if entry.status == "retired":
                with suppress(FileNotFoundError):
                    slice_path(self.folder, entry.key).replace(
                        retired_slice_path(self.folder, entry.key)
                    )

    def _remove_leftovers(self) -> None:
        """Removes what an interrupted update left: slices that no shard owns, and their keys."""
        self._move_retired_slices()
        remove_cut_slices(slice_path(self.folder, "").parent)
        if self.manifest.reserved:
            end = self.manifest.next_number
            self.manifest.next_number -= self.manifest.reserved
            for number in range(self.manifest.next_number, end):
                slice_path(self.folder, shard_key(number)).unlink(missing_ok=True)
            self.manifest.reserved = 0
            self.manifest.save(self.folder)


def _identity(source: Source, files: list[SourceFile]) -> str:
    """A digest of all that decides how a source is cut."""
    facts = {
        "version": SLICE_VERSION,
        "source": source.facts,
        "files": [file_identity(file) for file in files],
    }
    return hex_digest(json.dumps(facts))
