"""Computes the code version of each stage's asset: the stage's version and a digest per round.

A digest covers the parts of the fingerprints that are the same in all shards and that a code
location can compute cheaply (`assets/identities.py`). When it changes, Dagster shows the asset's
partitions as stale, and the sensor `annotate_new_shards` materialises them again.
"""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from assets.identities import annotator_identity, described_toolbox
from assets.partition_events import CODE_VERSION_TAG
from assets.stage import PER_TOOL, ShardStage, Stage, setting_value
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import settings_of_rounds
from toolformer.sources.manifest import ShardEntry

# Each round and variant has its own partitions, so these settings never make a partition stale.
_SELECTS_OUTPUT = ("sampling.round", "training.variant")
# Belongs to no source, because the tools that a source allows affect only its own shards.
_ANY_SHARD = ShardEntry("", "", 0, 0, "", is_held_out=False)
# Separates the digests of the rounds.
_SEPARATOR = "-"


def code_version(stage: Stage, rounds: Sequence[Settings], home: Home) -> str:
    if not set(stage.all_settings).difference(_SELECTS_OUTPUT):
        return stage.version
    digests = (Fingerprint.of(_known_parts(stage, each, home)).digest[:12] for each in rounds)
    return f"{stage.version}{_SEPARATOR}{_SEPARATOR.join(digests)}"


def code_version_tags(
    context: dg.AssetExecutionContext, stage: Stage
) -> Callable[[str | None], Mapping[str, str]]:
    """Return a function from a partition to the code version tag of its materialisation.

    The function uses the settings and files of this run, because Dagster would ignore the run's
    overrides. It copies digests of other rounds, whose rows this run does not make, from the last
    materialisation.
    """
    resource: SettingsResource = context.resources.settings
    home, own = Home.find(), resource.load()
    rounds = settings_of_rounds(home.settings_file)
    number = own.sampling.round if own.rounds else 1
    rounds[number - 1] = own
    now = code_version(stage, rounds, home)

    def tags(partition: str | None) -> Mapping[str, str]:
        version, *digests = now.split(_SEPARATOR)
        if partition is not None and len(digests) > 1:
            earlier = dg.AssetRecordsFilter(context.asset_key, asset_partitions=[partition])
            for record in context.instance.fetch_materializations(earlier, limit=1).records:
                event = record.asset_materialization
                stored = (event and event.tags) or {}
                made = stored.get(CODE_VERSION_TAG, "").split(_SEPARATOR)[1:]
                own_digest = digests[number - 1]
                digests[: len(made)] = made[: len(digests)]
                digests[number - 1] = own_digest
        return {CODE_VERSION_TAG: _SEPARATOR.join((version, *digests))}

    return tags


def _known_parts(stage: Stage, settings: Settings, home: Home) -> dict[str, object]:
    if isinstance(stage, ShardStage):
        # A chained round has one more input; a stage with one output per shard merges all tools.
        chained = stage.reads_previous_round and settings.sampling.is_chained
        is_per_tool = stage.per == PER_TOOL
        merged = () if is_per_tool else settings.tools.enabled_names
        values: dict[str, object] = {"is_chained": bool(chained), "tools": merged}
        toolbox = described_toolbox(settings, home) if is_per_tool else Toolbox({}, {}, {})
        annotator = annotator_identity(settings, home) if stage.uses_annotator else ""
        for partition in stage.partitions(settings, _ANY_SHARD, toolbox, annotator):
            for name, part in stage.own_fingerprint(partition).parts.items():
                values |= {} if name in _SELECTS_OUTPUT else {f"{partition.tool_name} {name}": part}
        return values
    values = {"code_version": stage.version} | _values(settings, stage.settings)
    for part in stage.parts:
        value = (
            part.code_version_value(settings, home)
            if part.code_version_value
            else _values(settings, part.settings)
        )
        values[part.name] = value
    return values


def _values(settings: Settings, paths: Sequence[str]) -> dict[str, object]:
    return {path: setting_value(settings, path) for path in paths if path not in _SELECTS_OUTPUT}
