"""Everything that Dagster loads: assets, checks, jobs, sensors and resources."""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

import assets
from assets.code_versions import code_version
from assets.dataset.shard_asset import shard_assets
from assets.dataset.stages import PIPELINE
from assets.documents import documents
from assets.stages import STAGES
from dagster_project.checks import checks_of
from dagster_project.jobs import JOBS
from dagster_project.sensors import sensors
from toolformer.home.expected_errors import EXPECTED_ERRORS, explained
from toolformer.home.home import Home
from toolformer.home.partitions import claim_id
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.resources.toolbox import ToolboxResource
from toolformer.settings.sections import RunsSettings
from toolformer.settings.settings_file import settings_of_rounds

_LOGGER = logging.getLogger(__name__)
# Owners that the UI shows for each asset.
_OWNERS = ["team:toolformer"]
_SHARDS_PER_RUN, _TOOLS = "runs.shards_per_run", "tools"
# A run has one process, so that it loads the model once for all stages and shards. If a stage fails
# for some shards, the next stage continues with the others.
_EXECUTOR = dg.in_process_executor.configured(
    {"step_dependency_config": {"require_upstream_step_success": False}}, name="in_process"
)


@dg.definitions
def definitions() -> dg.Definitions:
    return definitions_of(Home.find())


def definitions_of(home: Home) -> dg.Definitions:
    """Return the definitions of a home, even if its settings file is invalid.

    In that case assets and sensors show the problem, and no asset has an automation condition:
    Dagster would not request an asset again after its run failed. A sensor whose assets have no
    condition keeps its state, and an asset without a code version does not count as out of date.
    """
    by_settings, problem = _by_settings(home)
    shards_per_run = by_settings.get(_SHARDS_PER_RUN, RunsSettings().shards_per_run)  # pyright: ignore[reportCallIssue]
    broken: dict[str, Any] = {"automation_condition": None} if problem else {}

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        version = by_settings.get(spec.key.to_user_string(), spec.code_version)
        spec = spec.replace_attributes(code_version=version, owners=_OWNERS, **broken)
        more = {"settings": problem} if problem else {}
        if table := spec.metadata.get("dagster/table_name"):
            more["dagster/uri"] = (home.warehouse / table).as_uri()
        return spec.merge_attributes(metadata=more)

    defined = [
        documents,
        *dg.load_assets_from_package_module(assets),
        *shard_assets(PIPELINE, shards_per_run=shards_per_run),
    ]
    return dg.Definitions(
        assets=dg.map_asset_specs(completed, defined),
        asset_checks=checks_of(by_settings.get(_TOOLS, ())),
        jobs=list(JOBS.values()),
        sensors=sensors(problem),
        resources={
            "settings": SettingsResource.configure_at_launch(),
            "toolbox": ToolboxResource(),
        },
        executor=_EXECUTOR,
    )


def _by_settings(home: Home) -> tuple[Mapping[str, Any], str]:
    """Return code versions, shards per run and enabled tools; or nothing and an error message."""
    try:
        claim_id(home)
        rounds = settings_of_rounds(home.settings_file)
        versions = {stage.name: code_version(stage, rounds, home) for stage in STAGES}
        tools = list(dict.fromkeys(name for each in rounds for name in each.tools.enabled_names))
        return {**versions, _SHARDS_PER_RUN: rounds[0].runs.shards_per_run, _TOOLS: tools}, ""
    except EXPECTED_ERRORS as error:
        problem = explained(error)
        _LOGGER.error(problem)
        return {}, problem
