"""All that Dagster loads: assets, checks, jobs, sensors and resources."""

import dagster as dg

import assets
from assets.code_versions import code_version
from assets.dataset.shard_asset import shard_assets
from assets.dataset.stages import PIPELINE
from assets.documents import documents
from assets.stages import STAGES
from dagster_project.checks import checks_of
from dagster_project.jobs import JOBS
from dagster_project.sensors import SENSORS
from toolformer_home.home import Home
from toolformer_home.resources.language_model import LanguageModelResource
from toolformer_home.resources.settings import SettingsResource
from toolformer_home.resources.toolbox import ToolboxResource
from toolformer_home.settings.errors import SettingsError
from toolformer_home.settings.sections import RunsSettings, Settings
from toolformer_home.settings.settings_file import settings_of_rounds
from tools.errors import ToolRegistrationError

# One process per run: the model is loaded once for all stages and shards of a run. A stage that
# failed for some shards gave its output for the others, and the next goes on with these.
_EXECUTOR = dg.in_process_executor.configured(
    {"step_dependency_config": {"require_upstream_step_success": False}}, name="in_process"
)


@dg.definitions
def definitions() -> dg.Definitions:
    """The definitions, by the settings that the home's file has now."""
    return definitions_of(Home.find())


def definitions_of(home: Home) -> dg.Definitions:
    """The definitions of a home."""
    rounds = _rounds(home)
    runs = rounds[0].runs if rounds else RunsSettings()  # pyright: ignore[reportCallIssue]
    versions = {stage.name: code_version(stage, rounds) for stage in STAGES}
    defined = [
        documents,
        *dg.load_assets_from_package_module(assets),
        *shard_assets(PIPELINE, shards_per_run=runs.shards_per_run),
    ]
    return dg.Definitions(
        assets=dg.map_asset_specs(
            lambda spec: spec.replace_attributes(
                code_version=versions.get(spec.key.to_user_string(), spec.code_version)
            ),
            defined,
        ),
        asset_checks=checks_of(rounds),
        jobs=JOBS,
        sensors=SENSORS,
        resources={
            "settings": SettingsResource.configure_at_launch(),
            "toolbox": ToolboxResource(),
            "language_model": LanguageModelResource(),
        },
        executor=_EXECUTOR,
    )


def _rounds(home: Home) -> list[Settings]:
    """The settings of all rounds; none where something is wrong, which whatever is run tells."""
    try:
        return settings_of_rounds(home.settings_file)
    except (SettingsError, ToolRegistrationError, OSError):
        return []
