"""The code version that Dagster has of each stage: its version, and the settings of its rows.

So Dagster shows what was made with other settings as out of date, and `annotate_new_shards` makes
it again.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG

from assets.stage import ANY_TOOL, Stage, setting_value
from toolformer_home.fingerprints import Fingerprint
from toolformer_home.resources.settings import SettingsResource
from toolformer_home.settings.sections import Settings

# Each round and each variant of the model has outputs of its own.
_OF_OUTPUT = ("sampling.round", "training.variant")


def code_version(stage: Stage, rounds: Sequence[Settings]) -> str:
    """The code version of a stage's asset.

    Args:
        stage: the stage.
        rounds: the settings of each round; none where they cannot be read, and then it is the
            stage's version alone.
    """
    paths = [path for path in stage.all_settings if path not in _OF_OUTPUT]
    if not paths or not rounds:
        return stage.version
    values = {
        f"{number} {path.replace(ANY_TOOL, tool)}": setting_value(settings, path, tool)
        for number, settings in enumerate(rounds, start=1)
        for path in paths
        for tool in (settings.tools.switched_on if ANY_TOOL in path else ("",))
    }
    return f"{stage.version}-{Fingerprint.of(values).digest[:12]}"


def code_version_tags(context: dg.AssetExecutionContext, stage: Stage) -> dict[str, str]:
    """The tags of a materialisation in a run that overrides settings; none in another run.

    Dagster would take the asset's code version, which follows from toolformer.yaml alone.
    """
    resource: SettingsResource = context.resources.settings
    if not resource.overrides and not resource.preset:
        return {}
    return {CODE_VERSION_TAG: code_version(stage, resource.load_rounds())}
