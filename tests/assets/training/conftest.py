"""Assets of the training made by themselves, outside a build."""

from collections.abc import Sequence

import dagster as dg

from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource


def metadata_of(
    asset: dg.AssetsDefinition,
    overrides: dict,
    *,
    partition: str | None = None,
    tools: Sequence[str] = (),
) -> dict:
    """Make an asset in the home of the environment; what the UI shows of it."""
    result = dg.materialize(
        [asset],
        partition_key=partition,
        resources={
            "settings": SettingsResource(overrides=overrides),
            "warehouse": WarehouseResource(),
            "toolbox": ToolboxResource(tools=list(tools)),
            "language_model": LanguageModelResource(),
        },
    )
    (event,) = result.get_asset_materialization_events()
    return {name: each.value for name, each in event.materialization.metadata.items()}
