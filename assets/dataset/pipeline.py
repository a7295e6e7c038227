"""Orders the stages that run shard by shard, and finds the inputs of their outputs."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from assets.documents import DOCUMENTS, MissingTextsError
from assets.inputs import Expected, Input, NoCallsError, find_mismatch, merged_part, stored_input
from assets.stage import PER_TOOL, Partition, ShardStage
from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import Fingerprint
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Replaces the tool in the key of an input from the previous round.
PREVIOUS_ROUND = "round before"


class Pipeline:
    """Stages in order; each reads only `documents` and tables of earlier stages."""

    def __init__(self, stages: Sequence[ShardStage]):
        self._stages = {stage.name: stage for stage in stages}
        # Computed here, since a plan needs them several times per partition.
        self._sources: dict[str, set[str]] = {DOCUMENTS: set()}
        self._nearest: dict[str, tuple[str, ...]] = {}
        for stage in stages:
            indirect = {source for read in stage.reads for source in self._sources[read]}
            self._sources[stage.name] = indirect.union(stage.reads)
            self._nearest[stage.name] = tuple(read for read in stage.reads if read not in indirect)

    def __iter__(self) -> Iterator[ShardStage]:
        return iter(self._stages.values())

    def __getitem__(self, name: str) -> ShardStage:
        return self._stages[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._stages)

    def is_per_tool(self, table: str) -> bool:
        return table != DOCUMENTS and self[table].per == PER_TOOL

    def direct_inputs(self, stage: ShardStage) -> tuple[str, ...]:
        """Return the inputs of a stage, except those that another input's fingerprint covers."""
        return self._nearest[stage.name]

    def made_from(self, table: str) -> set[str]:
        """Return all tables upstream of a table."""
        return self._sources[table]

    def is_merging(self, stage: ShardStage) -> bool:
        return stage.per != PER_TOOL and bool(self._tables_of_tools(stage))

    def fingerprint(
        self, stage: ShardStage, partition: Partition, made: Mapping[tuple[str, str], str]
    ) -> Fingerprint:
        parts = self.input_parts(stage, partition, made)
        return stage.own_fingerprint(partition).with_parts(parts)

    def input_parts(
        self, stage: ShardStage, partition: Partition, made: Mapping[tuple[str, str], str]
    ) -> dict[str, str]:
        """Return fingerprint parts for the inputs; `made` has their digests by table and tool."""
        inputs = {
            f"{table} of the {PREVIOUS_ROUND}": made[table, PREVIOUS_ROUND]
            for table in stage.reads_previous_round
            if (table, PREVIOUS_ROUND) in made
        }
        for table in self.direct_inputs(stage):
            if not self.is_per_tool(table):
                inputs[table] = made[table, ALL]
            elif stage.per == PER_TOOL:
                inputs[table] = made[table, partition.tool_name]
            else:
                inputs |= {
                    merged_part(table, name): digest
                    for (made_table, name), digest in made.items()
                    if made_table == table
                }
        return inputs

    def expected(self, stage: ShardStage, partition: Partition, warehouse: Warehouse) -> Expected:
        """Return the inputs and fingerprint that an output would have if it were made now.

        Raises NoCallsError if the tool has no rows of an input, and MissingTextsError if the texts
        of the shard are missing.
        """
        inputs: dict[tuple[str, str], Input] = {}
        if self.is_merging(stage):
            if DOCUMENTS in stage.reads:
                # Raise here if the texts are missing; otherwise every tool is left out silently.
                self._input(DOCUMENTS, ALL, partition, warehouse)
            merged, _ = self.merged(stage, partition, warehouse)
            for name, partitions in merged.items():
                for stored in partitions:
                    inputs[stored.table, name if self.is_per_tool(stored.table) else ALL] = stored
        else:
            for table in stage.reads:
                name = partition.tool_name if self.is_per_tool(table) else ALL
                inputs[table, name] = self._input(table, name, partition, warehouse)
        inputs |= self.previous_round_inputs(stage, partition, warehouse)
        made = {address: stage_input.fingerprint for address, stage_input in inputs.items()}
        return Expected(self.fingerprint(stage, partition, made), tuple(inputs.values()))

    def previous_round_inputs(
        self, stage: ShardStage, partition: Partition, warehouse: Warehouse
    ) -> dict[tuple[str, str], Input]:
        """Return the inputs from the previous round; empty unless rounds are chained."""
        sampling, inputs = partition.settings.sampling, {}
        for table in stage.reads_previous_round if sampling.is_chained else ():
            name = name_in_round(sampling.round - 1, ALL)
            before = stored_input(warehouse, table, partition.shard, name)
            if before is None:
                raise ToolformerError(
                    f"Round {sampling.round} is chained (sampling.is_chained), but round "
                    f"{sampling.round - 1} has not annotated {partition.shard!r}. Build that round "
                    "first, or give both rounds the same sampling.shards."
                )
            tools = before.upstream_tools(self._tables_of_tools(self[table])[0])
            if off := [name for name in tools if not partition.settings.tools.of(name).is_enabled]:
                raise ToolformerError(
                    f"Round {sampling.round} is chained, but texts of the previous round have "
                    f"calls of tools that are switched off now: {', '.join(off)}. Switch these "
                    "tools on, or build the earlier rounds again without them (`toolformer build "
                    "--set sampling.round=1`). To limit the tools of a round, set sampling.tools."
                )
            inputs[table, PREVIOUS_ROUND] = before
        return inputs

    def merged(
        self,
        stage: ShardStage,
        partition: Partition,
        warehouse: Warehouse,
        *,
        besides: Collection[str] = (),
    ) -> tuple[dict[str, tuple[Input, ...]], dict[str, str]]:
        """Return the partitions to merge by tool, and the reason for each tool left out.

        Stored calls count even if their tool cannot run here. A tool is left out if it is switched
        off, or if its partitions do not match and must be built again. Tools among `besides` are
        ignored.
        """
        shard, settings = partition.shard, partition.settings
        round_number = settings.sampling.round
        tables_of_tools = self._tables_of_tools(stage)
        stored = warehouse.partition_names(tables_of_tools[0], shard, round_number=round_number)
        names = [name for name in stored if name not in besides]
        shard_inputs = [
            stored_input(warehouse, table, shard, ALL)
            for table in stage.reads
            if names and not self.is_per_tool(table)
        ]
        merged: dict[str, tuple[Input, ...]] = {}
        left_out: dict[str, str] = {}
        for name in names:
            if not settings.tools.of(name).is_enabled:
                left_out[name] = "switched off"
                continue
            tool_inputs = [
                stored_input(warehouse, table, shard, self[table].output_name(name, round_number))
                for table in tables_of_tools
            ]
            partitions = tuple(filter(None, (*shard_inputs, *tool_inputs)))
            mismatch, sampled_in = find_mismatch(partitions), _window_tokens(partitions)
            if len(partitions) < len(shard_inputs) + len(tool_inputs):
                left_out[name] = "a partition of its calls is missing"
            elif mismatch is not None:
                left_out[name] = mismatch
            # Calls sampled in windows of another length cannot be merged: their positions differ.
            elif sampled_in not in (None, json.dumps(settings.corpus.window_tokens)):
                left_out[name] = f"sampled in windows of {sampled_in} tokens"
            else:
                merged[name] = partitions
        return merged, left_out

    def _input(
        self, table: str, tool_name: str, partition: Partition, warehouse: Warehouse
    ) -> Input:
        name = ALL
        if table != DOCUMENTS:
            name = self[table].output_name(tool_name, partition.settings.sampling.round)
        stored = stored_input(warehouse, table, partition.shard, name)
        if stored is None and table == DOCUMENTS:
            raise MissingTextsError([partition.entry])
        if stored is None:
            error = ToolformerError if tool_name == ALL else NoCallsError
            raise error(
                f"The shard {partition.shard!r} has no rows of {table} ({name}) yet. Materialise "
                f"`{table}` for it first (`toolformer build` does so)."
            )
        return stored

    def _tables_of_tools(self, stage: ShardStage) -> list[str]:
        """Return the per-tool tables that a stage reads, the nearest upstream table first."""
        nearest = self.direct_inputs(stage)
        tables_of_tools = [table for table in stage.reads if self.is_per_tool(table)]
        return sorted(tables_of_tools, key=lambda table: table not in nearest)


def _window_tokens(partitions: Iterable[Input]) -> str | None:
    """Return the window length with which the candidates were sampled, as JSON."""
    sampled = (partition for partition in partitions if partition.table == "candidate_calls")
    return next((candidates.parts.get("corpus.window_tokens") for candidates in sampled), None)
