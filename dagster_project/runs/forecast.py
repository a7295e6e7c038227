"""What `toolformer build` would do in the home as it stands, as data.

Reads only: no source is cut, no model converted, no index built. What is made of new sources is
planned once they are cut; what depends on an index, once it exists.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from assets.corpus import configured_sources
from assets.documents import stored_texts
from dagster_project.runs.indexes import MISSING, OUT_OF_DATE, PlannedIndex, planned_indexes
from dagster_project.runs.plan import BuildPlan, PlannedPartition, chosen_shards
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.forward.model_directory import model_without_weights
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.annotator import Annotator
from toolformer.home.wiring.retriever import tools_searching
from toolformer.home.wiring.sampling import check_can_annotate
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

# Of English, with most vocabularies.
_CHARACTERS_PER_TOKEN = 4.0
# On two cores: to start the program and load a small model; to convert the embedded one; to build
# the indexes of its excerpt.
_START_SECONDS, _CONVERSION_SECONDS, _INDEX_SECONDS = 15, 20, 30
_EMBEDDED_WEIGHTS = 134_515_008
# A guess: nothing is known of a server before it was asked.
_SERVED_TOKENS_PER_SECOND = 1500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a build would do.

    Attributes:
        cut: sources that would be cut first: they are new, or their files have changed.
        unusable: sources that cannot be used, by path, with the reason.
        indexes: that would be built first.
        is_converted: whether the base model is there; else it would be converted first.
        shards: of the build, that are there.
        held_out: number of shards that are not annotated.
        partitions: to be made of these, in the order of the stages; none where earlier rows may be
            of the base model, which is not there to be compared.
        unavailable: tools that would be left out, with the reason.
        unknown_tools: tools with rows that may be of the index that would be built first.
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
        """Whether nothing has to be done before the shards are built."""
        can_be_built = any(index.can_be_built for index in self.indexes)
        return self.is_converted and not (self.cut or can_be_built)

    @property
    def preparing_seconds(self) -> int:
        """About how long it takes before anything is annotated; of a small dump."""
        is_built = any(index.can_be_built for index in self.indexes)
        conversion = 0 if self.is_converted else _CONVERSION_SECONDS
        return _START_SECONDS + conversion + is_built * _INDEX_SECONDS

    @property
    def does_anything(self) -> bool:
        """Whether the build would change the home."""
        return bool(self.partitions) or not self.is_prepared


def forecast_build(
    settings: Settings,
    home: Home,
    *,
    tools: Sequence[str] = (),
    shards: Sequence[str] = (),
    force: bool = False,
) -> Forecast:
    """Plan a build; a home that is not there yet is an empty one.

    Args:
        tools, shards: that were named; all that are enabled and active where none was.

    Raises:
        UnknownToolError, ToolUnavailableError, ToolSettingsError, PromptError: a tool cannot be
            used.
        ShardNotFoundError, ToolformerError: see `chosen_shards`.
        ManifestError: the manifest cannot be read, or is older than the stored texts.
    """
    warehouse = Warehouse(home.warehouse, home.database)
    stored = stored_texts(warehouse)
    cut, rejected = stale_sources(home.sources, configured_sources(settings), stored)
    indexes = planned_indexes(tools, settings, home)
    embedded = embedded_model_directory(home.converted_models) / "model.safetensors"
    is_converted = settings.language_model.path != "embedded" or embedded.exists()
    manifest = Manifest.load(home.sources)
    chosen = chosen_shards(manifest, shards, settings)
    can_be_planned = is_converted or not warehouse.partitions("candidate_calls")
    # Without its index a tool cannot be opened; with another one it is another tool.
    missing = _searching(settings, tools, indexes, MISSING) if can_be_planned else []
    partitions: list[PlannedPartition] = []
    unavailable: Mapping[str, str] = {}
    annotator = None
    if can_be_planned:
        named = [name for name in tools if name not in missing] if tools else None
        toolbox = open_toolbox(settings, home, named=named)
        unavailable = toolbox.unavailable
        annotator = Annotator.of(settings, home) if is_converted else None
        partitions = BuildPlan(
            warehouse,
            settings,
            toolbox,
            annotator=annotator.identity if annotator else "not converted",
            force=force,
            outdated_tools=_searching(settings, tools, indexes, OUT_OF_DATE),
            coming_tools=missing,
            characters_per_token=cache(partial(_characters_per_token, annotator, toolbox)),
            tokens_per_second=cache(partial(_tokens_per_second, annotator, settings)),
        ).of(chosen)
        if annotator and any(partition.table == "candidate_calls" for partition in partitions):
            check_can_annotate(annotator.location, toolbox.prompts, settings, is_here=False)
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


def _characters_per_token(annotator: Annotator | None, toolbox: Toolbox) -> float:
    """Of the prompts, as the model's tokenizer cuts them; as usual where there is neither."""
    text = "".join(filter(None, toolbox.prompts.values()))
    if annotator is None or not text:
        return _CHARACTERS_PER_TOKEN
    from toolformer.forward.tokenization import load_tokenizer

    return len(text) / len(load_tokenizer(annotator.location.directory).encode(text))


def _tokens_per_second(annotator: Annotator | None, settings: Settings) -> float:
    """Of annotation: by what this machine computes, or a guess of a server."""
    if settings.is_annotated_by_server:
        return _SERVED_TOKENS_PER_SECOND
    from toolformer.forward.devices import resolve_device
    from toolformer.forward.precision import automatic_precisions
    from toolformer.forward.speed import expected_tokens_per_second

    weights = _EMBEDDED_WEIGHTS
    if annotator is not None:
        weights = model_without_weights(annotator.location.directory).num_parameters()
    section = settings.language_model
    device, precision = resolve_device(section.device), section.precision
    if precision == "auto":
        precision = automatic_precisions(device)[0]
    return expected_tokens_per_second(weights, device=device, precision=precision)


def _searching(
    settings: Settings, tools: Collection[str], indexes: Sequence[PlannedIndex], reason: str
) -> list[str]:
    """The tools of a run that search an index that would be built for this reason."""
    assets = [index.asset for index in indexes if index.reason == reason and index.can_be_built]
    names = [name for asset in assets for name in tools_searching(asset, settings, tools)]
    return list(dict.fromkeys(names))
