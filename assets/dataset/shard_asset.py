"""Builds the assets of the stages that run shard by shard."""

import inspect
from collections.abc import Iterator
from functools import partial

import dagster as dg

from assets.dataset.pipeline import Pipeline
from assets.dataset.shard_run import ShardRun
from assets.stage_asset import asset_of

# These are not partitioned by shard, so one materialisation concerns all shards.
_INDEXES = dg.AssetSelection.assets("wikipedia_index", "passage_index")
_OF_ALL_SHARDS = dg.AssetSelection.assets("corpus_manifest") | _INDEXES

_Condition = dg.AutomationCondition
# Selects what the sensor `annotate_new_shards` runs. A failed shard runs again only if a person
# starts it or something upstream changes.
NEW_OR_STALE = (
    (
        # Unlike Dagster's `eager`, request also partitions missing at the first evaluation.
        _Condition.missing().newly_true()
        | _Condition.code_version_changed()
        # A new manifest never changes the shards that it had before.
        | _Condition.any_deps_updated().ignore(_OF_ALL_SHARDS)
        # Every `prepare` materialises the indexes, but they rarely change.
        | _Condition.any_deps_match(_Condition.data_version_changed()).allow(_INDEXES)
    ).since(_Condition.newly_requested() | _Condition.newly_updated())
    # A missing index blocks no shard: tools that search it are left out, and other tools run.
    & ~_Condition.any_deps_missing().ignore(_INDEXES)
    & ~_Condition.any_deps_in_progress()
    & ~_Condition.in_progress()
).with_label("new or out of date")


def shard_assets(pipeline: Pipeline, *, shards_per_run: int) -> Iterator[dg.AssetsDefinition]:
    """Yield the assets of a pipeline, named like its stages, with one partition per shard."""
    for stage in pipeline:
        asset = asset_of(
            stage,
            begin=partial(ShardRun, pipeline=pipeline, stage=stage),
            description=inspect.getdoc(stage.compute),
            deps=[*pipeline.direct_inputs(stage), *stage.reads_indexes],
            backfill_policy=dg.BackfillPolicy.multi_run(shards_per_run),
            automation_condition=NEW_OR_STALE,
        )
        yield asset(ShardRun.run)
