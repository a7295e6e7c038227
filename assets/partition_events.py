"""Reports each partition of a run to Dagster when it is made.

Dagster itself reports all partitions when the step ends, and none if the step fails.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.dagster_internals import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
    AssetExecutionType,
    get_output_asset_events,
)

CODE_VERSION_TAG = "dagster/code_version"
_DATA_VERSION_TAG = "dagster/data_version"
_DATA_VERSION_IS_USER_PROVIDED_TAG = "dagster/data_version_is_user_provided"

# Type of what the function of a partitioned asset yields.
PartitionEvents = Iterator[dg.AssetMaterialization | dg.MaterializeResult]
# Last event of a step that has reported its partitions, so that Dagster does not report them too.
REPORTED = dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


class PartitionReports:
    """Materialisations of a run's partitions, with the tags that Dagster would give them."""

    def __init__(self, context: dg.AssetExecutionContext):
        step = context.op_execution_context.get_step_execution_context()
        (output,) = step.op_def.output_defs
        self._events = {
            event.partition: event
            for event in get_output_asset_events(
                context.asset_key,
                context.partition_keys,
                dg.Output(None),
                output,
                {},
                step,
                AssetExecutionType.MATERIALIZATION,
            )
        }

    def of(
        self, partition: str, metadata: Mapping[str, Any], *, data_version: str | None = None
    ) -> dg.AssetMaterialization:
        """Return a materialisation; the default data version covers all partitions of the run."""
        event = self._events[partition]
        assert isinstance(event, dg.AssetMaterialization)
        tags = dict(event.tags or {})
        if data_version is not None:
            tags |= data_version_tags(data_version)
        return dg.AssetMaterialization(
            event.asset_key, partition=partition, metadata=metadata, tags=tags
        )


def data_version_tags(data_version: str) -> dict[str, str]:
    return {_DATA_VERSION_TAG: data_version, _DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
