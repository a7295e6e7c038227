"""Stages that are run shard by shard: whose rows an output is made of, and from which tools'."""

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

# Stands for a tool in the address of what a chained round reads of the round before.
ROUND_BEFORE = "round before"


class Pipeline:
    """Stages, each of which reads `documents` and tables of those before it only."""

    def __init__(self, stages: Sequence[ShardStage]):
        self._stages = {stage.name: stage for stage in stages}
        # Of each partition of a plan they are asked several times.
        self._sources: dict[str, set[str]] = {DOCUMENTS: set()}
        self._nearest: dict[str, tuple[str, ...]] = {}
        for stage in stages:
            behind = {source for read in stage.reads for source in self._sources[read]}
            self._sources[stage.name] = behind.union(stage.reads)
            self._nearest[stage.name] = tuple(read for read in stage.reads if read not in behind)

    def __iter__(self) -> Iterator[ShardStage]:
        return iter(self._stages.values())

    def __getitem__(self, name: str) -> ShardStage:
        return self._stages[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages, which are those of their tables and assets."""
        return tuple(self._stages)

    def is_per_tool(self, table: str) -> bool:
        """Whether a table that stages read has one partition per shard and tool."""
        return table != DOCUMENTS and self[table].per == PER_TOOL

    def nearest_inputs(self, stage: ShardStage) -> tuple[str, ...]:
        """The inputs of a stage without those that another of its inputs was made from.

        The fingerprint of the other one names these already.
        """
        return self._nearest[stage.name]

    def made_from(self, table: str) -> set[str]:
        """The tables that a table's rows come from, over all stages before it."""
        return self._sources[table]

    def is_merging(self, stage: ShardStage) -> bool:
        """Whether one output of a stage is made from the rows of all tools."""
        return stage.per != PER_TOOL and bool(self._tables_of_tools(stage))

    def fingerprint(
        self, stage: ShardStage, partition: Partition, made: Mapping[tuple[str, str], str]
    ) -> Fingerprint:
        """What an output is made of, given what stands before it; see `input_parts`."""
        parts = self.input_parts(stage, partition, made)
        return stage.own_fingerprint(partition).with_parts(parts)

    def input_parts(
        self, stage: ShardStage, partition: Partition, made: Mapping[tuple[str, str], str]
    ) -> dict[str, str]:
        """The parts of a fingerprint that name what an output reads.

        Args:
            made: fingerprints of the inputs by table and tool; a merging stage merges these tools.
        """
        inputs = {
            f"{table} of the {ROUND_BEFORE}": made[table, ROUND_BEFORE]
            for table in stage.reads_round_before
            if (table, ROUND_BEFORE) in made
        }
        for table in self.nearest_inputs(stage):
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
        """An output as it would be made now.

        Raises:
            NoCallsError: the tool has no rows of a table that the stage reads.
            MissingTextsError: the texts of the shard are gone.
            ToolformerError: the shard has no rows of another table.
        """
        inputs: dict[tuple[str, str], Input] = {}
        if self.is_merging(stage):
            if DOCUMENTS in stage.reads:
                # Else every tool would be left out, and the rows be none.
                self._input(DOCUMENTS, ALL, partition, warehouse)
            merged, _ = self.merged(stage, partition, warehouse)
            for name, partitions in merged.items():
                for stored in partitions:
                    inputs[stored.table, name if self.is_per_tool(stored.table) else ALL] = stored
        else:
            for table in stage.reads:
                name = partition.tool_name if self.is_per_tool(table) else ALL
                inputs[table, name] = self._input(table, name, partition, warehouse)
        inputs |= self.of_round_before(stage, partition, warehouse)
        made = {address: stage_input.fingerprint for address, stage_input in inputs.items()}
        return Expected(self.fingerprint(stage, partition, made), tuple(inputs.values()))

    def of_round_before(
        self, stage: ShardStage, partition: Partition, warehouse: Warehouse
    ) -> dict[tuple[str, str], Input]:
        """What an output reads of the round before: nothing where calls are not chained.

        Raises:
            ToolformerError: the round before has not annotated the shard, or with tools that are
                switched off now.
        """
        sampling, inputs = partition.settings.sampling, {}
        for table in stage.reads_round_before if sampling.is_chained else ():
            name = name_in_round(sampling.round - 1, ALL)
            before = stored_input(warehouse, table, partition.shard, name)
            if before is None:
                raise ToolformerError(
                    f"Round {sampling.round} is chained (sampling.is_chained), and round "
                    f"{sampling.round - 1} has not annotated {partition.shard!r}. Build that round "
                    "first, or give both the same sampling.shards."
                )
            tools = before.tools_behind(self._tables_of_tools(self[table])[0])
            if off := [name for name in tools if not partition.settings.tools.of(name).is_enabled]:
                raise ToolformerError(
                    f"Round {sampling.round} is chained, and the texts that it goes on with have "
                    f"calls of tools that are switched off now: {', '.join(off)}. Build the rounds "
                    "before first (`toolformer build --set sampling.round=1`), or switch them on; "
                    "sampling.tools names the tools that annotate in a round."
                )
            inputs[table, ROUND_BEFORE] = before
        return inputs

    def merged(
        self,
        stage: ShardStage,
        partition: Partition,
        warehouse: Warehouse,
        *,
        besides: Collection[str] = (),
    ) -> tuple[dict[str, tuple[Input, ...]], dict[str, str]]:
        """What the calls of each tool of a shard are merged from, whether or not it is here.

        Args:
            stage, partition: the output; a tool is merged that has rows of the nearest table.
            besides: tools that are not looked at.

        Returns:
            By tool its partitions and those of the shard; and why other tools are left out: they
            are switched off, or theirs do not belong together until the tool is built again.
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
            # Calls that were sampled in other windows stand at other places.
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
        """The tables with one output per tool that a stage reads, the nearest first."""
        nearest = self.nearest_inputs(stage)
        tables_of_tools = [table for table in stage.reads if self.is_per_tool(table)]
        return sorted(tables_of_tools, key=lambda table: table not in nearest)


def _window_tokens(partitions: Iterable[Input]) -> str | None:
    """The window length with which the candidates among these were sampled, as JSON."""
    sampled = (partition for partition in partitions if partition.table == "candidate_calls")
    return next((candidates.parts.get("corpus.window_tokens") for candidates in sampled), None)
