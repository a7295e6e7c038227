"""Syncs the manifest with the list of sources. Only one process may do so at a time.

Shards with unchanged records stay active, even if their files were rewritten. A source that is
missing or no longer listed keeps its shards: an unmounted disk, or other settings for a single run,
must not discard the results computed from them. Only `retire_source` removes a source. If removed
records reappear, their old shards become active again.
"""

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from toolformer.base.digests import hex_digest
from toolformer.sources.cutting import CUTTING_VERSION, CutShard, Progress, cut_source
from toolformer.sources.errors import SourceError, write_error
from toolformer.sources.files import SourceFile, file_identity, list_files
from toolformer.sources.manifest import Manifest, ShardEntry, check_complete
from toolformer.sources.reasons import Tally
from toolformer.sources.source import Source

# Subfolder with the staged texts of the source that is being cut.
STAGED = "staged"

# Stores the staged texts of a source. Receives all of its shards, which are already registered.
StoreTexts = Callable[[list[tuple[ShardEntry, CutShard]]], None]


@dataclass(frozen=True, slots=True)
class StoredTexts:
    """Keys of the active and of the retired shards whose texts are stored.

    `version` is that of the parsing rules. Sources cut with another version are cut again.
    """

    version: str
    keys: Collection[str] = ()
    retired: Collection[str] = ()

    @property
    def all_keys(self) -> set[str]:
        return {*self.keys, *self.retired}


@dataclass(slots=True)
class ManifestUpdate:
    """Result of an update.

    Attributes:
        rejected_sources: error of each unusable source, by path; its shards stay active.
        unlisted: names of sources that have active shards but are not listed.
    """

    added: list[ShardEntry] = field(default_factory=list)
    retired: list[ShardEntry] = field(default_factory=list)
    restored: list[ShardEntry] = field(default_factory=list)
    rejected_sources: dict[str, SourceError] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)


def update_manifest(
    folder: Path,
    sources: Sequence[Source],
    *,
    held_out_every: int,
    stored: StoredTexts,
    store: StoreTexts,
    progress: Progress = lambda _name, _records: None,
) -> ManifestUpdate:
    """Register new shards and have their texts stored; retire shards whose records changed.

    A source is read if its files changed, texts of its shards are missing, or an update was
    interrupted. Its shards are written to the manifest, then their texts are stored, and then the
    manifest records that the source is done. If the process is killed, registered shards are kept,
    and the next update continues. An unusable source is skipped; an exception of `store` is raised.

    Every `held_out_every`-th shard by number is held out from training (0: no shard).

    Raises:
        ManifestError: the manifest cannot be read, is missing, or is older than the stored texts.
        CorpusWriteError: the disk is full, or the folder is not writable.
    """
    return _Update(folder, stored, held_out_every).run(sources, store, progress)


def retire_source(folder: Path, name: str, stored: StoredTexts) -> list[ShardEntry]:
    """Retire all shards of a source in the manifest, and return them."""
    update = _Update(folder, stored)
    update.manifest.identities.pop(name, None)
    update.retire(update.active(name))
    update.manifest.save(folder)
    return update.result.retired


def stale_sources(
    folder: Path, sources: Sequence[Source], stored: StoredTexts
) -> tuple[list[Source], dict[str, SourceError]]:
    """Return the sources that `update_manifest` would cut, and the errors of unusable ones."""
    update = _Update(folder, stored)
    stale = [source for source, _, _ in update.stale(sources)]
    return stale, update.result.rejected_sources


class _Update:
    def __init__(self, folder: Path, stored: StoredTexts, held_out_every: int = 0) -> None:
        self.folder = folder
        self.stored = stored
        self.manifest = Manifest.load(folder)
        check_complete(folder, self.manifest, stored.all_keys)
        self.new_keys = self.manifest.new_keys(stored.all_keys, held_out_every)
        self.result = ManifestUpdate()
        self.listed: set[str] = set()

    def run(
        self, sources: Sequence[Source], store: StoreTexts, progress: Progress
    ) -> ManifestUpdate:
        self.listed = {source.name for source in sources}
        for source, files, identity in self.stale(sources):
            with self._staging() as staging:
                try:
                    cut = list(cut_source(staging, source, files, progress))
                    _check_usable(source, cut)
                except SourceError as error:
                    self.result.rejected_sources[source.path] = error
                    continue
                store(self._register(source.name, cut))
            self.manifest.identities[source.name] = identity
            self.manifest.save(self.folder)
        active = self.manifest.stored_sources
        self.result.unlisted = sorted(active - self.listed)
        return self.result

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Yield an empty folder, which is removed afterwards."""
        staging = self.folder / STAGED
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        except OSError as error:
            raise write_error(staging, error) from error
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def stale(self, sources: Sequence[Source]) -> Iterator[tuple[Source, list[SourceFile], str]]:
        seen: dict[str, Source] = {}
        owner_of_file: dict[str, str] = {}
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
                _claim(source, files, owner_of_file)
                identity = self._identity(source, files)
            except SourceError as error:
                self.result.rejected_sources[source.path] = error
                continue
            before = self.active(source.name)
            is_complete = all(entry.key in self.stored.keys for entry in before)
            if self.manifest.identities.get(source.name) != identity or not is_complete:
                yield source, files, identity

    def active(self, name: str) -> list[ShardEntry]:
        return [entry for entry in self.manifest.active_shards if entry.source == name]

    def _register(self, name: str, cut: list[CutShard]) -> list[tuple[ShardEntry, CutShard]]:
        """Assign keys to the shards of a source, and save the manifest.

        Removes the source's identity from the manifest until its texts are stored, so that the next
        update cuts the source again if this one is interrupted.
        """
        known = self._known_shards(name)
        registered: list[tuple[ShardEntry, CutShard]] = []
        for shard in cut:
            same = known.get(shard.digest)
            if same is None:
                key, is_held_out = next(self.new_keys)
                start, count = shard.first_record, shard.records
                entry = ShardEntry(key, name, start, count, shard.digest, is_held_out)
                self.result.added.append(entry)
            else:
                entry = replace(same, source=name, first_record=shard.first_record, status="active")
                if same.status == "retired":
                    self.result.restored.append(entry)
                else:
                    # The source that loses this shard to `name` must be cut again.
                    self.manifest.identities.pop(same.source, None)
            registered.append((entry, shard))
        self.manifest.identities.pop(name, None)
        keys = {entry.key for entry, _ in registered}
        self.retire([entry for entry in self.active(name) if entry.key not in keys])
        self.manifest.put(entry for entry, _ in registered)
        self.manifest.save(self.folder)
        return registered

    def _known_shards(self, name: str) -> dict[str, ShardEntry]:
        """Return reusable shards by digest: own, retired, or of an unlisted source."""
        reusable = [
            entry
            for entry in self.manifest.shards
            if entry.status == "retired" or entry.source == name or entry.source not in self.listed
        ]
        # If several shards have the same digest, the last one wins. Prefer active shards, then the
        # source's own, then later ones.
        reusable.sort(key=lambda entry: (entry.status == "active", entry.source == name))
        return {entry.digest: entry for entry in reusable}

    def retire(self, entries: list[ShardEntry]) -> None:
        """Set the status of shards to retired, without saving the manifest."""
        retired = [replace(entry, status="retired") for entry in entries]
        self.manifest.put(retired)
        self.result.retired += retired

    def _identity(self, source: Source, files: list[SourceFile]) -> str:
        facts = {
            "version": [CUTTING_VERSION, self.stored.version],
            "source": asdict(source),
            "files": [file_identity(file) for file in files],
        }
        return hex_digest(json.dumps(facts))


def _check_usable(source: Source, cut: Sequence[CutShard]) -> None:
    tally = Tally(sum(shard.records for shard in cut))
    for shard in cut:
        tally.rejected.update(shard.rejected)
    if not tally.usable:
        raise SourceError(
            f"No record of the source {source.path!r} is usable: of {tally.records}, "
            f"{tally.reasons}. Expected at least one text. Correct the file, or set --format or "
            "--text-column, and ingest it again."
        )


def _claim(source: Source, files: list[SourceFile], owner_of_file: dict[str, str]) -> None:
    """Raise if a file belongs to two sources, which would duplicate its documents."""
    for file in files:
        owner = owner_of_file.setdefault(file.path, source.name)
        if owner != source.name:
            raise SourceError(
                f"The file {file.name!r} of source {source.path!r} also belongs to source "
                f"{owner!r}. Expected each file in one source. Narrow one of the two patterns."
            )
