"""Records the partitions that an output is made from, with their versions.

Another run may replace an input at any moment. So a stage records its inputs before it reads them
and compares them again before it publishes; otherwise stale rows would count as up to date.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import FINGERPRINT, PARTS, Fingerprint
from warehouse.layout import split_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

MADE_FROM = "made_from"
# Metadata key: id of the Dagster run that made a partition.
RUN = "run"


class NoCallsError(ToolformerError):
    """Error for a tool without rows in a table that an output reads."""


class InputChangedError(ToolformerError):
    """Error for an input that another run replaced while an output was made from it."""


@dataclass(frozen=True, slots=True)
class Input:
    """A stored partition that an output reads.

    Attributes:
        version: unique per publication, even if the fingerprint is the same.
        made_from: fingerprints of its direct and indirect inputs, by name.
        run: id of the Dagster run that made it, or empty.
    """

    table: str
    shard: str
    partition_name: str
    fingerprint: str
    version: str
    made_from: Mapping[str, str]
    parts: Mapping[str, str]
    run: str = ""

    @property
    def name(self) -> str:
        """Table, shard and partition, for messages and for `made_from` of later outputs."""
        return f"{self.table} of {self.shard}, {self.partition_name}"

    def upstream_tools(self, table: str) -> list[str]:
        """Return the tools whose partitions of `table` it was made from, in any round."""
        of_table = (name for name in self.made_from if name.startswith(f"{table} of "))
        return sorted({split_round(name.rpartition(", ")[2])[1] for name in of_table})


@dataclass(frozen=True, slots=True)
class Expected:
    fingerprint: Fingerprint
    inputs: tuple[Input, ...] = field(default=())

    def metadata(self) -> dict[str, str]:
        made_from: dict[str, str] = {}
        for stage_input in self.inputs:
            made_from |= {**stage_input.made_from, stage_input.name: stage_input.fingerprint}
        return {**self.fingerprint.metadata(), MADE_FROM: json.dumps(made_from)}

    def check_agreement(self) -> None:
        """Raise InputChangedError if an input was replaced after another was made from it."""
        mismatch = find_mismatch(self.inputs)
        if mismatch is not None:
            raise InputChangedError(
                f"{mismatch}. Another run works on this shard with other settings, or was stopped "
                "before it finished. Wait until it has ended, then run the same command again."
            )

    def check_unchanged(self, now: "Expected") -> None:
        """Raise InputChangedError if the output would now be made from other inputs."""
        if now == self:
            return
        newest = {stage_input.name: stage_input for stage_input in now.inputs}
        changed = [each.name for each in self.inputs if newest.get(each.name) != each]
        runs = sorted({newest[name].run for name in changed if name in newest} - {""})
        others = f"another run ({', '.join(runs)})" if runs else "another run"
        raise InputChangedError(
            f"{', '.join(changed) or 'A model or tool'} was replaced while rows were made from it: "
            f"{others} works here with other settings. The new rows were not stored. Wait until "
            "the other run has ended, then run the same command again."
        )


def stored_input(warehouse: Warehouse, table: str, shard: str, partition_name: str) -> Input | None:
    newest = warehouse.partition_version(table, shard, partition_name)
    if newest is None:
        return None
    version, metadata = newest
    return Input(
        table,
        shard,
        partition_name,
        metadata[FINGERPRINT],
        version,
        json.loads(metadata.get(MADE_FROM, "{}")),
        json.loads(metadata.get(PARTS, "{}")),
        metadata.get(RUN, ""),
    )


def partition_inputs(
    warehouse: Warehouse, table: str, shards: Iterable[str], *, partition_name: str = ALL
) -> dict[str, Input]:
    partitions = {shard: stored_input(warehouse, table, shard, partition_name) for shard in shards}
    return {shard: partition for shard, partition in partitions.items() if partition is not None}


def fingerprints_of(inputs: Mapping[str, Input]) -> dict[str, str]:
    return {name: stage_input.fingerprint for name, stage_input in inputs.items()}


def find_mismatch(inputs: Iterable[Input]) -> str | None:
    """Return a clause that names an input replaced after another was made from it, or None."""
    inputs = tuple(inputs)
    fingerprints = {stage_input.name: stage_input.fingerprint for stage_input in inputs}
    for stage_input in inputs:
        for name, fingerprint in stage_input.made_from.items():
            if fingerprints.get(name, fingerprint) != fingerprint:
                return f"{name} was replaced after {stage_input.name} was made from it"
    return None


def merged_part(table: str, tool_name: str) -> str:
    return f"{table}.{tool_name}"
