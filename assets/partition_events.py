"""Materialisations of a run over partitions, each reported when its partition is made.

Dagster reports all partitions of a run when the step returns its output, and none where it fails.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.dagster_internals import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
    AssetExecutionType,
    get_output_asset_events,
)

# Of a materialisation.
CODE_VERSION_TAG = "dagster/code_version"
_DATA_VERSION_TAG = "dagster/data_version"
_DATA_VERSION_IS_USER_PROVIDED_TAG = "dagster/data_version_is_user_provided"

# What the body of such an asset yields.
PartitionEvents = Iterator[dg.AssetMaterialization | dg.MaterializeResult]
# The output of a step that has reported its partitions: Dagster then adds no reports of its own.
REPORTED = dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


class PartitionReports:
    """The materialisations that Dagster would report of a run's partitions at its end.

    They have its tags, which the data version is one of.
    """

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
        """The materialisation of a partition that is made.

        Args:
            data_version: equal where the rows are; None for Dagster's, which also follows from
                the partitions that ran together.
        """
        event = self._events[partition]
        assert isinstance(event, dg.AssetMaterialization)
        tags = dict(event.tags or {})
        if data_version is not None:
            tags |= data_version_tags(data_version)
        return dg.AssetMaterialization(
            event.asset_key, partition=partition, metadata=metadata, tags=tags
        )


def data_version_tags(data_version: str) -> dict[str, str]:
    """The tags of a materialisation that tell Dagster the data version."""
    return {_DATA_VERSION_TAG: data_version, _DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
