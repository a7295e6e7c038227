"""Assets made by themselves, outside a build, in the home of the environment."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import dagster as dg

from dagster_project.definitions import definitions
from toolformer.home.partitions import MODEL_VARIANTS, SHARDS, register
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.resources.toolbox import ToolboxResource


def materialise(
    *names: str,
    overrides: Mapping[str, Any] | None = None,
    partition: str | None = None,
    tools: Sequence[str] = (),
    force: bool = False,
    raise_on_error: bool = True,
    instance: dg.DagsterInstance | None = None,
) -> dg.ExecuteInProcessResult:
    """Make these assets, one after the other; all of a shard where the partition is one.

    Args:
        instance: what knows of earlier materialisations; by default a new one.
    """
    given = nullcontext(instance) if instance else dg.DagsterInstance.ephemeral()
    defined = definitions()
    with given as instance:
        if partition is not None and "|" not in partition:
            shards = partition.startswith("shard-")
            register(instance, SHARDS if shards else MODEL_VARIANTS, [partition])
        return dg.materialize(
            [defined.get_assets_def(name) for name in names],
            partition_key=partition,
            instance=instance,
            resources={
                "settings": SettingsResource(overrides=dict(overrides or {}), force=force),
                "toolbox": ToolboxResource(tools=list(tools)),
            },
            raise_on_error=raise_on_error,
        )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """What the UI shows of the assets."""
    assert result.success
    return {
        name: each.value
        for event in result.get_asset_materialization_events()
        for name, each in event.materialization.metadata.items()
    }


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the UI says of the one step that failed."""
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    told = failed.step_failure_data.user_failure_data
    assert told
    return str(told.description)
