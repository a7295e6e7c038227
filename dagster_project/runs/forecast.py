"""Forecasts what `toolformer build` would do in a home, without changing the home.

Shards of a new source are only planned after the source is cut, and work that needs a search index
only after the index is built.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from assets.corpus import configured_sources
from assets.documents import stored_texts
from assets.passage_vectors import passage_index_fingerprint
from assets.search_index import article_files, wikipedia_index_fingerprint
from dagster_project.runs.plan import BuildPlan, PlannedPartition, chosen_shards
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.home.expected_errors import EXPECTED_ERRORS
from toolformer.home.fingerprints import FINGERPRINT, MISSING
from toolformer.home.home import Home
from toolformer.home.wiring.models import Annotator, check_can_annotate
from toolformer.home.wiring.toolbox import (
    PASSAGE_INDEX,
    WIKIPEDIA_INDEX,
    open_toolbox,
    tools_searching,
)
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source
from tools.retrieval.index_folder import index_information
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

_OUT_OF_DATE = "out of date"


@dataclass(frozen=True, slots=True)
class PlannedIndex:
    """A search index to build before the shards, because it is missing or out of date."""

    asset: str
    reason: str
    can_be_built: bool

    @property
    def name(self) -> str:
        return "Wikipedia index" if self.asset == WIKIPEDIA_INDEX else "passage index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a build would do.

    Attributes:
        cut: new sources, and sources whose files changed; both are cut first.
        unusable: reason why a source cannot be used, by path.
        unavailable: reason why a tool cannot be used, by name.
        is_converted: if False, the build converts the base model first.
        shards: existing shards that the build covers.
        partitions: empty if stored rows may come from a base model that is not converted yet.
        unknown_tools: tools with stored rows that may come from an index that is built first.
    """

    cut: Sequence[Source]
    unusable: Mapping[str, str]
    indexes: Sequence[PlannedIndex]
    is_converted: bool
    shards: Sequence[ShardEntry]
    held_out: int
    partitions: Sequence[PlannedPartition]
    unavailable: Mapping[str, str]
    unknown_tools: Sequence[str]

    @property
    def is_prepared(self) -> bool:
        """Whether the shards can be built at once."""
        is_index_built = any(index.can_be_built for index in self.indexes)
        return self.is_converted and not (self.cut or is_index_built)

    @property
    def does_anything(self) -> bool:
        return bool(self.partitions) or not self.is_prepared


def forecast_build(
    settings: Settings,
    home: Home,
    *,
    tools: Sequence[str] = (),
    shards: Sequence[str] = (),
    force: bool = False,
) -> Forecast:
    """Forecast a build of the named tools and shards, or of all if none is named.

    A home that does not exist counts as empty. Raises ManifestError if the manifest is unreadable
    or older than the stored texts.
    """
    warehouse = Warehouse(home.warehouse, home.database)
    stored = stored_texts(warehouse)
    cut, rejected = stale_sources(home.sources, configured_sources(settings, home), stored)
    indexes = planned_indexes(tools, settings, home)
    embedded = embedded_model_directory(home.converted_models) / "model.safetensors"
    is_converted = settings.language_model.path != "embedded" or embedded.exists()
    manifest = Manifest.load(home.sources)
    chosen = chosen_shards(manifest, shards, settings)
    can_be_planned = is_converted or not warehouse.partitions("candidate_calls")
    # A tool cannot be opened without its index, and a new index changes its version.
    waiting: dict[str, list[str]] = {MISSING: [], _OUT_OF_DATE: []}
    for index in indexes if can_be_planned else ():
        if index.can_be_built:
            waiting[index.reason] += tools_searching(index.asset, settings, tools)
    missing = list(dict.fromkeys(waiting[MISSING]))
    partitions: list[PlannedPartition] = []
    unavailable: Mapping[str, str] = {}
    if can_be_planned:
        named = [name for name in tools if name not in missing] if tools else None
        work = Workspace(settings, home)
        toolbox = open_toolbox(work, named=named)
        unavailable = toolbox.unavailable
        annotator = Annotator.of(work) if is_converted else None
        partitions = BuildPlan(
            warehouse,
            settings,
            toolbox,
            annotator=annotator.identity if annotator else "not converted",
            force=force,
            tools_with_stale_index=waiting[_OUT_OF_DATE],
            tools_without_index=missing,
        ).of(chosen)
        if annotator and any(partition.table == "candidate_calls" for partition in partitions):
            check_can_annotate(annotator.location, toolbox.prompts, settings)
    executed = {stored.name for stored in warehouse.partitions("executed_calls")}
    return Forecast(
        cut=cut,
        unusable={path: str(error) for path, error in rejected.items()},
        indexes=indexes,
        is_converted=is_converted,
        shards=chosen,
        held_out=len(manifest.active_shards) - len(manifest.annotated_shards),
        partitions=partitions,
        unavailable={name: why for name, why in unavailable.items() if name not in missing},
        unknown_tools=[
            name for name in missing if name_in_round(settings.sampling.round, name) in executed
        ],
    )


def indexes_of(tools: Collection[str], settings: Settings) -> list[str]:
    """Return the index assets that the named tools, or else all enabled tools, search."""
    both = (WIKIPEDIA_INDEX, PASSAGE_INDEX)
    return [asset for asset in both if tools_searching(asset, settings, tools)]


def planned_indexes(tools: Collection[str], settings: Settings, home: Home) -> list[PlannedIndex]:
    """Return the missing and outdated indexes among `indexes_of(tools, settings)`."""
    planned = []
    for asset in indexes_of(tools, settings):
        if asset == WIKIPEDIA_INDEX:
            information = index_information(home.wikipedia_index)
            fingerprint_of = wikipedia_index_fingerprint
        else:
            information = index_information(home.passage_index)
            fingerprint_of = passage_index_fingerprint
        due = None
        # If its articles cannot be read, an existing index stays as it is.
        with suppress(*EXPECTED_ERRORS):
            due = fingerprint_of(settings, article_files(settings)).digest
        if information is None:
            planned.append(PlannedIndex(asset, MISSING, can_be_built=due is not None))
        elif due not in (None, information[FINGERPRINT]):
            planned.append(PlannedIndex(asset, _OUT_OF_DATE, can_be_built=True))
    return planned
