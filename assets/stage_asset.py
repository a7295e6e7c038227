"""Builds the Dagster asset of a stage from its declaration."""

import inspect
from collections.abc import Callable
from typing import Any

import dagster as dg

from assets.code_versions import code_version_tags
from assets.failures import expected_errors
from assets.partition_events import PartitionEvents
from assets.run import RESOURCES, Run
from assets.stage import PER_EVALUATION, PER_SHARD, PER_TOOL, PER_VARIANT, Stage
from toolformer.home.metadata import table_metadata
from toolformer.home.partitions import EVALUATIONS, MODEL_VARIANTS, SHARDS
from warehouse.schema import tables

_PARTITIONS: dict[str, dg.PartitionsDefinition[Any]] = {
    PER_SHARD: SHARDS,
    PER_TOOL: SHARDS,
    PER_VARIANT: MODEL_VARIANTS,
    PER_EVALUATION: EVALUATIONS,
}
_Condition = dg.AutomationCondition
# For assets that summarise all shards: run again after an upstream asset has run, once no upstream
# asset is running.
REFRESH_AFTER_DEPENDENCIES = (
    _Condition.any_deps_updated().since(_Condition.newly_requested() | _Condition.newly_updated())
    & ~_Condition.any_deps_in_progress()
    & ~_Condition.in_progress()
).with_label("after its upstream assets")
# What the function of an asset returns.
Materialised = dg.MaterializeResult | PartitionEvents


def asset_of(
    stage: Stage, *, begin: Callable[[dg.AssetExecutionContext], Run] | None = None, **further: Any
) -> Callable[[Callable[[Any], Materialised]], dg.AssetsDefinition]:
    """Return a decorator that turns a function of a run into the asset of a stage.

    The docstring of the function is the asset's description. `begin` makes its run, by default a
    `Run` of the partition's variant. `further` overrides arguments of `dg.asset`.
    """

    def asset_made_by(compute: Callable[[Any], Materialised]) -> dg.AssetsDefinition:
        def events(context: dg.AssetExecutionContext) -> PartitionEvents:
            with expected_errors():
                variant = context.partition_key if stage.per == PER_VARIANT else None
                run = begin(context) if begin else Run(context, variant=variant)
                # Compute the tags first: settings and files may be edited while the function runs.
                tags = code_version_tags(context, stage)
                changed = {"overrides": dg.MetadataValue.json(run.overrides)}
                more = changed if run.overrides else {}
                made = compute(run)
                if isinstance(made, dg.MaterializeResult):
                    metadata = {**more, **(made.metadata or {})}
                    partition = context.partition_key if context.has_partition_key else None
                    event_tags = {**tags(partition), **(made.tags or {})}
                    yield made._replace(tags=event_tags, metadata=metadata)
                    return
                for event in made:
                    metadata = {**more, **(event.metadata or {})}
                    partition = getattr(event, "partition", None)
                    # Replaces the code version tag that Dagster has set.
                    event_tags = {**(event.tags or {}), **tags(partition)}
                    yield event._replace(tags=event_tags, metadata=metadata)

        table = stage.table or stage.name
        every = dg.AllPartitionMapping()
        of_all = [dg.AssetDep(name, partition_mapping=every) for name in stage.reads_all]
        described: dict[str, Any] = {
            "name": stage.name,
            "group_name": stage.group,
            "kinds": set(stage.kinds),
            "partitions_def": _PARTITIONS.get(stage.per),
            "deps": [*stage.reads, *of_all],
            "description": inspect.getdoc(compute),
            "metadata": table_metadata(table) if table in tables() else None,
            "required_resource_keys": RESOURCES,
        }
        return dg.asset(**described | further)(events)

    return asset_made_by
