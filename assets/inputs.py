"""What an output is made of: partitions, each in the version that its fingerprint was taken from.

Other runs may replace a partition at any moment. So a stage looks at its inputs when it begins to
make an output, reads their rows, and looks again before it publishes: rows of one version under
the fingerprint of another would count as up to date for ever.
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
# The Dagster run that made a partition, in its metadata.
RUN = "run"


class NoCallsError(ToolformerError):
    """A tool has no rows of a table that an output is made of."""


class InputChangedError(ToolformerError):
    """Another run replaced what an output is made of while it was made."""


@dataclass(frozen=True, slots=True)
class Input:
    """A partition that is read.

    Attributes:
        version: tells it from what stood and will stand in its place, of equal fingerprint too.
        made_from: fingerprints that its own inputs had, and theirs, by name.
        parts: parts of the fingerprint, as JSON.
        run: Dagster run that made it; empty where none did.
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
        """Table, shard and partition in words."""
        return f"{self.table} of {self.shard}, {self.partition_name}"

    def tools_behind(self, table: str) -> list[str]:
        """The tools whose partitions of a table it was made from, of all rounds before it too."""
        of_table = (name for name in self.made_from if name.startswith(f"{table} of "))
        return sorted({split_round(name.rpartition(", ")[2])[1] for name in of_table})


@dataclass(frozen=True, slots=True)
class Expected:
    """An output as it would be made now."""

    fingerprint: Fingerprint
    inputs: tuple[Input, ...] = field(default=())

    def metadata(self) -> dict[str, str]:
        """What is stored with the output."""
        made_from: dict[str, str] = {}
        for stage_input in self.inputs:
            made_from |= {**stage_input.made_from, stage_input.name: stage_input.fingerprint}
        return {**self.fingerprint.metadata(), MADE_FROM: json.dumps(made_from)}

    def check_agreement(self) -> None:
        """Refuse inputs that were not made from each other.

        Raises:
            InputChangedError: one was replaced after another was made from it, and rows of the two
                do not belong together.
        """
        mismatch = find_mismatch(self.inputs)
        if mismatch is not None:
            raise InputChangedError(
                f"{mismatch}: another run works on this shard with other settings, or was stopped. "
                "Wait until it has ended, then run the same again."
            )

    def check_unchanged(self, now: "Expected") -> None:
        """Refuse to publish what was made of inputs that are not there any more.

        Raises:
            InputChangedError: it would be made of something else by now.
        """
        if now == self:
            return
        newest = {stage_input.name: stage_input for stage_input in now.inputs}
        changed = [each.name for each in self.inputs if newest.get(each.name) != each]
        runs = sorted({newest[name].run for name in changed if name in newest} - {""})
        others = f"another run ({', '.join(runs)})" if runs else "another run"
        raise InputChangedError(
            f"{', '.join(changed) or 'A model or tool'} was replaced while rows were made of it: "
            f"{others} works here with other settings. The rows were not stored. Wait until it "
            "has ended, then run the same again."
        )


def stored_input(warehouse: Warehouse, table: str, shard: str, partition_name: str) -> Input | None:
    """A partition as it is now; None where there is none."""
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
    """The partitions of this name of these shards, where there are any."""
    partitions = {shard: stored_input(warehouse, table, shard, partition_name) for shard in shards}
    return {shard: partition for shard, partition in partitions.items() if partition is not None}


def fingerprints_of(inputs: Mapping[str, Input]) -> dict[str, str]:
    """Their fingerprints, named as they are."""
    return {name: stage_input.fingerprint for name, stage_input in inputs.items()}


def find_mismatch(inputs: Iterable[Input]) -> str | None:
    """What was replaced after another of these was made from it, as a clause; None without."""
    inputs = tuple(inputs)
    fingerprints = {stage_input.name: stage_input.fingerprint for stage_input in inputs}
    for stage_input in inputs:
        for name, fingerprint in stage_input.made_from.items():
            if fingerprints.get(name, fingerprint) != fingerprint:
                return f"{name} was replaced after {stage_input.name} was made from it"
    return None


def merged_part(table: str, tool_name: str) -> str:
    """The part of a fingerprint that names the rows of one of several tools that were merged."""
    return f"{table}.{tool_name}"
