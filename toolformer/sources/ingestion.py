"""Brings the manifest in line with a list of sources.

Does not touch shards whose records are the same as before, whatever happened to their files.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from filelock import FileLock

from toolformer.ground.digests import hex_digest
from toolformer.ground.whole_files import flush
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import SourceFile, file_identity, list_files
from toolformer.sources.manifest import (
    Manifest,
    ShardEntry,
    retired_slice_path,
    shard_key,
    slice_path,
)
from toolformer.sources.readers import read_raw_records
from toolformer.sources.records import RawRecord
from toolformer.sources.slices import (
    SLICE_SUFFIX,
    SLICE_VERSION,
    write_error,
    write_slice,
)
from toolformer.sources.source import Source

# Called with the name of a source and the number of raw records cut from it so far.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class RejectedSource:
    """A source that could not be used.

    Attributes:
        source: as it was given.
        error: why; shards that were cut from it earlier stay, unless its files are gone.
    """

    source: Source
    error: SourceError


@dataclass(slots=True)
class ManifestUpdate:
    """What an update did.

    Attributes:
        added: new shards.
        retired: shards that were active before and are not any more.
        rejected_sources: sources that could not be used, with the error.
    """

    added: list[ShardEntry] = field(default_factory=list)
    retired: list[ShardEntry] = field(default_factory=list)
    rejected_sources: list[RejectedSource] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _CutSlice:
    path: Path
    first_record: int
    records: int
    digest: str


def update_manifest(
    folder: Path,
    sources: Sequence[Source],
    *,
    held_out_every: int,
    progress: Progress | None = None,
) -> ManifestUpdate:
    """Registers new shards and retires those whose sources changed or are no longer listed.

    A source whose files are as they were is not read. A source with any change is cut anew, and
    shards whose records came out the same keep their keys. The manifest is written after each
    source, when its slices are in place: an update that is interrupted loses nothing it had
    registered, and the next one removes what was left half done.

    Args:
        folder: `$TOOLFORMER_HOME/sources`; made where it is missing.
        sources: all sources of the corpus, in order.
        held_out_every: every n-th shard by number is held out from training; 0 for none.
        progress: told about each cut slice.

    Returns:
        What was done. A source that cannot be used is in `rejected_sources` and stops no other.

    Raises:
        ValueError: `held_out_every` is negative.
        DamagedRawSliceError: the manifest cannot be read.
        SliceWriteError: the disk is full or the folder not writable.
    """
    if held_out_every < 0:
        raise ValueError(
            f"held_out_every is {held_out_every}. Expected 0 for no held-out shards, or how many "
            "shards there are to each held-out one. Correct the setting."
        )
    lock = FileLock(folder / "manifest.lock")
    try:
        for path in (slice_path(folder, ""), retired_slice_path(folder, "")):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        return _Update(folder, held_out_every, progress).run(sources)
    finally:
        lock.release()


class _Update:
    """One update, under the lock."""

    def __init__(self, folder: Path, held_out_every: int, progress: Progress | None) -> None:
        self.folder = folder
        self.held_out_every = held_out_every
        self.progress = progress or (lambda _name, _records: None)
        self.manifest = Manifest.load(folder)
        self.result = ManifestUpdate()
        self.owner_of_file: dict[str, str] = {}

    def run(self, sources: Sequence[Source]) -> ManifestUpdate:
        self._remove_leftovers()
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
                self._register(source)
            except SourceNotFoundError as error:
                self._reject(source, error)
                self._retire(self._active(source.name), forget=source.name)
            except SourceError as error:
                self._reject(source, error)
        for name in self.manifest.identities.keys() - seen.keys():
            self._retire(self._active(name), forget=name)
        return self.result

    def _reject(self, source: Source, error: SourceError) -> None:
        self.result.rejected_sources.append(RejectedSource(source, error))

    def _active(self, name: str) -> list[ShardEntry]:
        return [entry for entry in self.manifest.active_shards if entry.source == name]

    def _register(self, source: Source) -> None:
        files = list_files(source)
        self._claim(source, files)
        identity = _identity(source, files)
        before = self._active(source.name)
        is_complete = all(slice_path(self.folder, entry.key).exists() for entry in before)
        if self.manifest.identities.get(source.name) == identity and is_complete:
            return
        cut = list(self._cut(source, files))
        self._replace(source.name, identity, before, cut)

    def _claim(self, source: Source, files: list[SourceFile]) -> None:
        """Refuses a file of two sources: its documents would be in the corpus twice."""
        for file in files:
            owner = self.owner_of_file.setdefault(file.path, source.name)
            if owner != source.name:
                raise SourceError(
                    f"The file {file.name!r} of source {source.path!r} also belongs to source "
                    f"{owner!r}. Expected each file in one source. Narrow one of the two patterns."
                )

    def _cut(self, source: Source, files: list[SourceFile]) -> Iterator[_CutSlice]:
        layout = source.layout(files[0].format)
        records = read_raw_records(source, files)
        first_record = 0
        try:
            # A shard is written as it is read: peek for its first record, count the rest.
            while (record := next(records, None)) is not None:
                path = slice_path(self.folder, f"cut-{first_record}")
                counter = _Counter(chain([record], islice(records, source.shard_size - 1)))
                digest = write_slice(path, layout, counter)
                yield _CutSlice(path, first_record, counter.count, digest)
                first_record += counter.count
                self.progress(source.name, first_record)
        except SourceError:
            self._remove_leftovers()
            raise

    def _replace(
        self, name: str, identity: str, before: list[ShardEntry], cut: list[_CutSlice]
    ) -> None:
        """Puts slices in place, then the manifest, then moves retired slices aside."""
        kept_by_digest = {entry.digest: entry for entry in before}
        kept: dict[str, ShardEntry] = {}
        added: list[ShardEntry] = []
        number = self.manifest.next_number
        try:
            for slice_ in cut:
                known = kept_by_digest.get(slice_.digest)
                if known is not None:
                    entry = replace(known, first_record=slice_.first_record)
                    kept[entry.key] = entry
                else:
                    entry = self._new_entry(number, name, slice_)
                    added.append(entry)
                    number += 1
                slice_.path.replace(slice_path(self.folder, entry.key))
            flush(slice_path(self.folder, "").parent)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self.manifest.shards = [kept.get(entry.key, entry) for entry in self.manifest.shards]
        self.manifest.shards += added
        self.manifest.next_number = number
        self.manifest.identities[name] = identity
        self._retire([entry for entry in before if entry.key not in kept])
        self.result.added += added

    def _new_entry(self, number: int, name: str, slice_: _CutSlice) -> ShardEntry:
        every = self.held_out_every
        return ShardEntry(
            key=shard_key(number),
            source=name,
            first_record=slice_.first_record,
            records=slice_.records,
            digest=slice_.digest,
            is_held_out=every > 0 and number % every == every - 1,
        )

    def _retire(self, entries: list[ShardEntry], forget: str | None = None) -> None:
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
        """Removes what an interrupted update left: slices that no shard owns."""
        self._move_retired_slices()
        owned = {entry.key + SLICE_SUFFIX for entry in self.manifest.shards}
        for path in slice_path(self.folder, "").parent.iterdir():
            if path.name not in owned:
                path.unlink()


class _Counter:
    """An iterator that knows how many records it has given."""

    def __init__(self, records: Iterator[RawRecord]) -> None:
        self.count = 0
        self._records = records

    def __iter__(self) -> Iterator[RawRecord]:
        for record in self._records:
            self.count += 1
            yield record


def _identity(source: Source, files: list[SourceFile]) -> str:
    """A digest of all that decides how a source is cut."""
    facts = {
        "version": SLICE_VERSION,
        "source": source.facts,
        "files": [file_identity(file) for file in files],
    }
    return hex_digest(json.dumps(facts))
