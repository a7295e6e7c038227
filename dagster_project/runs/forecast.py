"""What `toolformer build` would do in the home as it stands, as data.

Changes nothing: cuts no source, converts no model, builds no index. What depends on these is known
once they are done.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from assets.corpus import configured_sources, look_at_texts
from dagster_project.home import Home
from dagster_project.runs.chosen_shards import chosen_shards
from dagster_project.runs.indexes import MISSING, OUT_OF_DATE, PlannedIndex, planned_indexes
from dagster_project.runs.plan import BuildPlan, PlannedSlice
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import slice_store
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.retriever import tools_searching
from dagster_project.wiring.toolbox import open_toolbox
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source
from warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare` would do before the shards are built.

    Attributes:
        cut: sources that would be cut, for the first time or since their files are others.
        unusable: sources that cannot be used, by path, with the reason.
        indexes: that would be built.
        is_converted: whether the base model is there; else it would be converted.
    """

    cut: Sequence[Source]
    unusable: Mapping[str, str]
    indexes: Sequence[PlannedIndex]
    is_converted: bool

    @property
    def does_anything(self) -> bool:
        """Whether there is anything to prepare."""
        can_be_built = any(index.can_be_built for index in self.indexes)
        return bool(self.cut or can_be_built or not self.is_converted)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build would do.

    Attributes:
        preparation: what comes before the shards.
        shards: of the build, that are there.
        slices: to be made of these, in the order of the stages; none before the base model is
            there, since its identity is a part of what they are made of.
        unavailable: tools that would be left out, with the reason.
        unknown_tools: tools that are planned once their index is there.
    """

    preparation: Preparation
    shards: Sequence[ShardEntry]
    slices: Sequence[PlannedSlice] = ()
    unavailable: Mapping[str, str] | None = None
    unknown_tools: Sequence[str] = ()

    @property
    def does_anything(self) -> bool:
        """Whether the build would change the home."""
        return bool(self.slices or self.preparation.does_anything)


def forecast_build(
    settings: Settings,
    home: Home,
    *,
    tools: Sequence[str] = (),
    shards: Sequence[str] = (),
    force: bool = False,
) -> Forecast:
    """Plan a build.

    Args:
        settings: of the run.
        home: as it is now; one that is not there yet is an empty one.
        tools, shards: that were named; all that are enabled and active where none was.
        force: make also what is up to date.

    Raises:
        UnknownToolError, ToolUnavailableError, ToolSettingsError, PromptError: a tool cannot be
            used.
        ShardNotFoundError: there is no such shard.
        ManifestError: the manifest cannot be read, or is older than the stored texts.
    """
    warehouse = Warehouse(home.warehouse, home.database, slice_store(home))
    preparation = _preparation(settings, home, warehouse, tools)
    chosen = chosen_shards(Manifest.load(home.sources), shards, settings)
    if not preparation.is_converted:
        return Forecast(preparation, chosen)
    # Without its index a tool cannot be opened; with another one it is another tool.
    missing = _searching(settings, tools, preparation.indexes, MISSING)
    outdated = _searching(settings, tools, preparation.indexes, OUT_OF_DATE)
    named = [name for name in tools if name not in missing] if tools else None
    toolbox = open_toolbox(settings, home, named=named)
    plan = BuildPlan(
        warehouse,
        settings,
        toolbox,
        annotator=Annotator.of(settings, home).identity,
        force=force,
        outdated_tools=outdated,
    )
    return Forecast(
        preparation,
        chosen,
        plan.of(chosen),
        {name: why for name, why in toolbox.unavailable.items() if name not in missing},
        missing,
    )


def _preparation(
    settings: Settings, home: Home, warehouse: Warehouse, tools: Collection[str]
) -> Preparation:
    cut, rejected = stale_sources(
        home.sources, configured_sources(settings), look_at_texts(home, warehouse)
    )
    embedded = embedded_model_directory(home.converted_models) / "model.safetensors"
    return Preparation(
        cut=cut,
        unusable={path: str(error) for path, error in rejected.items()},
        indexes=planned_indexes(tools, settings, home),
        is_converted=settings.language_model.path != "embedded" or embedded.exists(),
    )


def _searching(
    settings: Settings, tools: Collection[str], indexes: Sequence[PlannedIndex], reason: str
) -> list[str]:
    """The tools of a run that search an index that would be built for this reason."""
    assets = [each.asset for each in indexes if each.reason == reason and each.can_be_built]
    found = [name for asset in assets for name in tools_searching(asset, settings, tools)]
    return list(dict.fromkeys(found))
