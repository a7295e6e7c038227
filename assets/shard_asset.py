"""The decorator of the assets that a build makes shard by shard."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import dagster as dg

from dagster_project.fingerprints import CODE_VERSIONS
from dagster_project.home import Home
from dagster_project.metadata import table_metadata
from dagster_project.partitions import SHARDS, shards_per_run

# As the settings are when the definitions are loaded.
_SHARDS_PER_RUN = shards_per_run(Home.find().settings_file)
# Not made shard by shard, so each materialisation is one for all shards.
_INDEXES = dg.AssetSelection.assets("wikipedia_index", "passage_index")
_OF_ALL_SHARDS = dg.AssetSelection.assets("corpus_manifest") | _INDEXES

_Condition = dg.AutomationCondition
# What the sensor `annotate_new_shards` runs. A shard that failed waits for a person or a change.
NEW_OR_STALE = (
    (
        # Also what is missing at the first look, unlike Dagster's `eager`.
        _Condition.missing().newly_true()
        | _Condition.code_version_changed()
        # A new manifest changes no shard that has its key already.
        | _Condition.any_deps_updated().ignore(_OF_ALL_SHARDS)
        # An index is materialised with every `prepare`, and rarely another one.
        | _Condition.any_deps_match(_Condition.data_version_changed()).allow(_INDEXES)
    ).since(_Condition.newly_requested() | _Condition.newly_updated())
    # Without an index the tools that search it are left out, and the others go on.
    & ~_Condition.any_deps_missing().ignore(_INDEXES)
    & ~_Condition.any_deps_in_progress()
    & ~_Condition.in_progress()
).with_label("new or stale")


def shard_asset(
    *, kinds: Collection[str], deps: Sequence[str]
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make an asset of a stage: one partition per shard, its table named like the function.

    Args:
        kinds: what it works with, as the UI shows it.
        deps: names of the assets before it.
    """

    def decorate(stage: Callable[..., Any]) -> dg.AssetsDefinition:
        return dg.asset(
            group_name="build_dataset",
            kinds=set(kinds),
            partitions_def=SHARDS,
            deps=list(deps),
            backfill_policy=dg.BackfillPolicy.multi_run(_SHARDS_PER_RUN),
            automation_condition=NEW_OR_STALE,
            code_version=CODE_VERSIONS[stage.__name__],
            metadata=table_metadata(stage.__name__),
        )(stage)

    return decorate
