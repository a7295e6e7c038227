"""The decorator of the assets that a build makes shard by shard."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import dagster as dg

from dagster_project.fingerprints import CODE_VERSIONS
from dagster_project.metadata import table_metadata
from dagster_project.partitions import SHARDS, SHARDS_PER_RUN


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
            backfill_policy=dg.BackfillPolicy.multi_run(SHARDS_PER_RUN),
            code_version=CODE_VERSIONS[stage.__name__],
            metadata=table_metadata(stage.__name__),
        )(stage)

    return decorate
