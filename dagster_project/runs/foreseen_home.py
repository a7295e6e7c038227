"""A home as `prepare` would leave it, in a scratch folder: what a build is planned in.

Sources are cut there, and indexes only named: their fingerprints are known before they are built.
Changes nothing in the home itself. Does not plan.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from assets.corpus import configured_sources
from dagster_project.cluster import ClusterError, differences, read_record
from dagster_project.home import Home
from dagster_project.runs.indexes import PlannedIndex, folder_of, indexes_of, planned_indexes
from dagster_project.settings.sections import Settings
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.sources.files import list_files, stored_bytes
from toolformer.sources.ingestion import stale_sources, update_manifest
from toolformer.sources.manifest import Manifest, manifest_path, slice_path
from toolformer.sources.source import Source

# Sources of more are not cut for a plan: it must come in seconds.
_MOST_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class ForeseenHome:
    """What `prepare` would do, and the home that would come of it.

    Attributes:
        home: a scratch folder with sources, indexes and models; without a warehouse.
        cut: sources that would be cut.
        is_counted: whether they were cut here, so that their shards are known.
        unusable: sources that cannot be used, by path, with the reason.
        new_shards, retired_shards, restored_shards: keys.
        indexes: that would be built.
        is_converted: whether the model is there; else it would be converted first.
    """

    home: Home
    cut: list[Source]
    is_counted: bool
    unusable: Mapping[str, str]
    new_shards: list[str]
    retired_shards: list[str]
    restored_shards: list[str]
    indexes: list[PlannedIndex]
    is_converted: bool

    @property
    def changes_shards(self) -> bool:
        """Whether cutting would change them; a file with another date alone does not."""
        changed = self.new_shards or self.retired_shards or self.restored_shards
        return bool(changed or not self.is_counted)

    @property
    def prepares(self) -> bool:
        """Whether anything would change before the shards are built."""
        return bool(self.changes_shards or self.indexes or not self.is_converted)


def foresee(settings: Settings, home: Home, tools: Collection[str], folder: Path) -> ForeseenHome:
    """Make the home that `prepare` would leave.

    Args:
        settings: of the run.
        home: as it is now.
        tools: that were named; where none was, those that are enabled.
        folder: for what is foreseen; empty.

    Raises:
        ClusterError: this machine does not fit those that the home is shared with.
        DamagedRawSliceError: the manifest cannot be read.
        SliceWriteError: the scratch folder is full.
    """
    foreseen = Home(folder)
    recorded = read_record(home.place)
    if recorded is not None:
        for why in differences(recorded, home.place):
            raise ClusterError(why)
    sources = configured_sources(settings)
    cut = stale_sources(home.sources, sources)
    sizes = [stored_bytes(file) for source in cut for file in list_files(source)]
    is_counted = sum(sizes) <= _MOST_BYTES
    _link_sources(home, foreseen)
    # Sources that are too large are taken for what was cut of them before.
    update = update_manifest(
        foreseen.sources,
        [source for source in sources if is_counted or source not in cut],
        held_out_every=settings.corpus.held_out_every,
    )
    indexes = planned_indexes(tools, settings, home)
    for asset in indexes_of(tools, settings):
        planned = next((each for each in indexes if each.asset == asset), None)
        if planned is None:
            _link(folder_of(asset, home), folder_of(asset, foreseen))
        elif planned.fingerprint is not None:
            planned.foresee(foreseen, settings)
    return ForeseenHome(
        home=foreseen,
        cut=cut,
        is_counted=is_counted,
        unusable={each.source.path: str(each.error) for each in update.rejected_sources},
        new_shards=[entry.key for entry in update.added],
        retired_shards=[entry.key for entry in update.retired],
        restored_shards=[entry.key for entry in update.restored],
        indexes=indexes,
        is_converted=_bring_models(settings, home, foreseen),
    )


def _link_sources(home: Home, foreseen: Home) -> None:
    """The manifest, and raw slices that stay where they are."""
    slices = slice_path(foreseen.sources, "").parent
    slices.mkdir(parents=True)
    manifest = Manifest.load(home.sources)
    if manifest.shards:
        manifest_path(foreseen.sources).write_bytes(manifest_path(home.sources).read_bytes())
    for entry in manifest.active_shards:
        if (raw := slice_path(home.sources, entry.key)).exists():
            slice_path(foreseen.sources, entry.key).symlink_to(raw.absolute())


def _bring_models(settings: Settings, home: Home, foreseen: Home) -> bool:
    """Link the models; one that is still to be converted is named, so that nobody converts it."""
    embedded = embedded_model_directory(home.converted_models)
    is_converted = (
        settings.language_model.path != "embedded" or (embedded / "model.safetensors").exists()
    )
    foreseen.models.mkdir(parents=True)
    if home.models.is_dir():
        for model in home.models.iterdir():
            if model != embedded:
                _link(model, foreseen.models / model.name)
    named = embedded_model_directory(foreseen.converted_models)
    if embedded.exists() and is_converted:
        _link(embedded, named)
    elif not is_converted:
        named.mkdir()
        (named / "model.safetensors").touch()
    return is_converted


def _link(there: Path, here: Path) -> None:
    here.parent.mkdir(parents=True, exist_ok=True)
    here.symlink_to(there.absolute())
