"""The code version that Dagster has of each stage: its version, and what its rows depend on.

What rows depend on is the part of their fingerprints that is the same in all shards, as far as it
can be found out in passing (`assets/identities.py`), for each round that the settings list. So
Dagster shows what was made with others as out of date, and `annotate_new_shards` makes it again.
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

# Each round and each variant of the model has outputs of its own.
_OF_OUTPUT = ("sampling.round", "training.variant")
# Of a source that no setting names: what a source says of its tools concerns its own shards.
_ANY_SHARD = ShardEntry("", "", 0, 0, "", is_held_out=False)
# Between the digests of rounds in a code version.
_SEPARATOR = "-"


def code_version(stage: Stage, rounds: Sequence[Settings], home: Home) -> str:
    """Return the code version of a stage's asset: the stage's, and a digest for each round."""
    if not set(stage.all_settings).difference(_OF_OUTPUT):
        return stage.version
    digests = (Fingerprint.of(_known(stage, each, home)).digest[:12] for each in rounds)
    return f"{stage.version}{_SEPARATOR}{_SEPARATOR.join(digests)}"


def code_version_tags(
    context: dg.AssetExecutionContext, stage: Stage
) -> Callable[[str | None], Mapping[str, str]]:
    """Return the tags of a partition's materialisation, by the settings and files as they are now.

    The digest of another round is that of the last materialisation: its rows were not made again.
    Dagster would take the version of the file when the process began, whatever the run overrides.
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


def _known(stage: Stage, settings: Settings, home: Home) -> dict[str, object]:
    """Return what is known of the fingerprints of a stage's outputs, by name."""
    if isinstance(stage, ShardStage):
        # Whether there is an input of the round before, and whose calls are merged.
        chained = stage.reads_round_before and settings.sampling.is_chained
        is_per_tool = stage.per == PER_TOOL
        merged = () if is_per_tool else settings.tools.switched_on
        values: dict[str, object] = {"is_chained": bool(chained), "tools": merged}
        toolbox = described_toolbox(settings, home) if is_per_tool else Toolbox({}, {}, {})
        annotator = annotator_identity(settings, home) if stage.uses_annotator else ""
        for partition in stage.partitions(settings, _ANY_SHARD, toolbox, annotator):
            for name, part in stage.own_fingerprint(partition).parts.items():
                values |= {} if name in _OF_OUTPUT else {f"{partition.tool_name} {name}": part}
        return values
    values = {"code_version": stage.version} | _values(settings, stage.settings)
    for part in stage.parts:
        told = part.known(settings, home) if part.known else _values(settings, part.settings)
        values[part.name] = told
    return values


def _values(settings: Settings, paths: Sequence[str]) -> dict[str, object]:
    return {path: setting_value(settings, path) for path in paths if path not in _OF_OUTPUT}
