"""Runs a stage over shards: replaces only stale outputs, and isolates failed shards."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from assets.dataset.pipeline import Pipeline
from assets.dataset.tool_threads import cache_latest, run_tools_concurrently
from assets.failures import failed_shards, failure_of_shards
from assets.inputs import RUN, Expected, NoCallsError
from assets.outputs import (
    UP_TO_DATE,
    Address,
    OutputRows,
    PartitionOutput,
    data_version_of,
    merge_shards,
    publish,
)
from assets.partition_events import REPORTED, PartitionEvents, PartitionReports
from assets.run import Run
from assets.shard_report import ShardReport, ShardRows
from assets.shard_texts import typed_frame
from assets.stage import PER_TOOL, Partition, ShardStage
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.tokenization import Tokenizer, load_tokenizer
from toolformer.home.expected_errors import EXPECTED_ERRORS, explain_out_of_memory
from toolformer.home.fingerprints import PARTS
from toolformer.home.metadata import file_paths
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.models import Annotator, base_model_directory
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from toolformer.sources.manifest import Manifest
from warehouse.schema import ALL

if TYPE_CHECKING:
    from toolformer.forward.model import Model

_LOGGER = logging.getLogger(__name__)
NOT_SAMPLED = "not sampled"
# Retries a step in which calls were given up, after 10, 30 and 70 s. A `retry_policy` of the asset
# would also retry bugs and interrupted steps.
RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL)
# Maximum number of shards and of records per batch. Each shard takes a lock, and a batch of more
# records saves little.
_SHARDS_TOGETHER, _RECORDS_TOGETHER = 64, 4096
# Returns what a stage makes once per shard, given the versions of the shard's inputs.
Share = Callable[[tuple[str, ...]], Any]


@dataclass(frozen=True, slots=True)
class PartitionRun:
    """An output that is being made."""

    run: "ShardRun"
    partition: Partition
    expected: Expected
    address: Address
    _shared: Share

    @property
    def settings(self) -> Settings:
        return self.run.settings

    @property
    def keys(self) -> dict[str, object]:
        """Columns that are equal in all rows of the output."""
        return {
            "shard": self.partition.shard,
            "tool": self.partition.tool_name,
            "round": self.settings.sampling.round,
        }

    @property
    def shared(self) -> Any:
        """Value that the outputs of all tools of the shard share."""
        pipeline = self.run.pipeline
        versions = (
            stage_input.version
            for stage_input in self.expected.inputs
            if not pipeline.is_per_tool(stage_input.table)
        )
        return self._shared(tuple(versions))

    def read(self, table: str) -> pl.DataFrame:
        """Return the rows of an input, from all tools if the stage merges tools."""
        stage = self.run.stage
        if table not in (*stage.reads, *stage.reads_previous_round):
            raise ValueError(
                f"The stage {stage.name!r} reads {table!r}, which its declaration does not name. "
                "Add it to `reads`."
            )
        frames = [
            self.run.warehouse.read_partition(table, stage_input.shard, stage_input.partition_name)
            for stage_input in self.expected.inputs
            if stage_input.table == table
        ]
        return pl.concat(frames or [typed_frame(table, [])])

    def checkpoint(self, depends_on: str = "", *, within: str = "") -> Checkpoint:
        """Open the checkpoint of the output or, in the folder `within`, of one of its passes.

        `depends_on` names anything besides the fingerprint on which the steps depend.
        """
        folder = self.run.checkpoint_folder(self.address) / within
        digest = self.expected.fingerprint.digest
        checkpoint = Checkpoint(folder, fingerprint=f"{digest} {depends_on}".rstrip())
        # Check the served model before each step is stored: a later run may resume from it.
        checkpoint.before_storing = self.run.check_annotator
        if checkpoint.resumed_steps:
            self.run.context.log.info(
                f"{self.partition.shard} {self.partition.tool_name}: resuming after "
                f"{checkpoint.resumed_steps} finished steps"
            )
        return checkpoint

    def progress(self, work: str) -> ProgressCallback:
        return self.run.progress(work, self.partition.shard, self.partition.tool_name)


@dataclass(frozen=True, kw_only=True)
class _StageOutput(PartitionOutput):
    run: "ShardRun"
    partition: Partition
    shared: Share

    @property
    def needs_device(self) -> bool:
        needs_device = self.run.stage.needs_device
        return needs_device is not None and needs_device(self.partition)

    def hold_device(self) -> object:
        """Wait for the device, unless a server runs the model on its own devices."""
        if self.run.annotator is not None and self.run.annotator.location.is_served:
            return None
        return super().hold_device()

    @property
    def scratch_folder(self) -> Path:
        return self.run.checkpoint_folder(self.address)

    @property
    def side_partitions(self) -> Mapping[str, str]:
        stage, name = self.run.stage, self.address[2]
        costs = {"stage_costs": f"{name}.{stage.passes[0]}"} if stage.passes else {}
        return {**dict.fromkeys(stage.side_tables, name), **costs}

    def expected(self) -> Expected:
        return self.run.pipeline.expected(self.run.stage, self.partition, self.run.warehouse)

    def compute(self, expected: Expected) -> OutputRows:
        work = self.work(expected)
        return self.finished(work, self.run.stage.compute(work))

    def work(self, expected: Expected) -> PartitionRun:
        return PartitionRun(self.run, self.partition, expected, self.address, self.shared)

    def finished(self, work: PartitionRun, made: OutputRows) -> OutputRows:
        """Check the rows that the stage made, and add costs and metadata to them."""
        self.run.check_annotator()
        self.run.is_unfinished |= made.actual_fingerprint is not None
        stage = self.run.stage
        named = {*made.side_tables, *(cost.stage for cost in made.costs)}
        if undeclared := named - {*stage.side_tables, *stage.passes}:
            raise ValueError(
                f"The stage {stage.name!r} made {', '.join(sorted(undeclared))}, which its "
                "declaration does not name."
            )
        if missing := set(stage.side_tables) - set(made.side_tables):
            raise ValueError(
                f"The stage {stage.name!r} did not make {', '.join(sorted(missing))}, which its "
                "declaration names."
            )
        # All costs of an output share a partition, so that no costs of an earlier run remain.
        costs = [{**work.keys, **asdict(cost)} for cost in made.costs]
        side_tables = {**made.side_tables, "stage_costs": typed_frame("stage_costs", costs)}
        metadata = {**made.metadata, RUN: self.run.context.run.run_id}
        return replace(made, metadata=metadata, side_tables=side_tables)


class ShardRun(Run):
    """Run of a stage over shards.

    Settings, home, tools and model are checked before anything expensive is loaded; each may raise
    one of EXPECTED_ERRORS.
    """

    def __init__(self, context: dg.AssetExecutionContext, pipeline: Pipeline, stage: ShardStage):
        super().__init__(context)
        self.pipeline, self.stage = pipeline, stage
        _ = self.warehouse
        self.manifest = Manifest.load(self.home.sources)
        # Open only what the stage declares.
        self.tools = self.open_toolbox() if stage.per == PER_TOOL else Toolbox({}, {}, {})
        self.annotator = Annotator.of(self) if stage.uses_annotator else None
        # Whether an output is stale at once because calls were given up.
        self.is_unfinished = False
        # States of the outputs that were made in a batch of shards.
        self._made: dict[Address, str] = {}

    def run(self) -> PartitionEvents:
        """Make and report every shard, except those that failed in an earlier stage of the run.

        After all shards, raises dg.RetryRequested if calls were given up (see `RETRIES`), or
        dg.Failure if a shard failed.
        """
        began = time.monotonic()
        failures: dict[str, Exception] = {}
        reports = PartitionReports(self.context)
        failed_before = failed_shards(self.context, self.pipeline.made_from(self.stage.name))
        # Ask for the keys only once: Dagster then reads all registered partitions.
        keys = self.context.partition_keys
        left_out = [key for key in keys if key in failed_before]
        remaining = [key for key in keys if key not in failed_before]
        for number, key in enumerate(remaining):
            if number % _SHARDS_TOGETHER == 0:
                self._make_together(remaining[number : number + _SHARDS_TOGETHER])
            report = ShardReport()
            shard_began = time.monotonic()
            try:
                with explain_out_of_memory():
                    self._make_shard(key, report)
            except EXPECTED_ERRORS as error:
                self.context.log.error(f"{self.stage.name} {key}: {error}")
                failures[key] = error
                continue
            seconds = time.monotonic() - shard_began
            self.context.log.info(f"{self.stage.name} {key}: {report.line(seconds)}")
            metadata = {
                "shards": len(keys),
                "run seconds": round(time.monotonic() - began, 2),
                "preset": self.settings.preset,
                **({"round": self.settings.sampling.round} if self.stage.has_rounds else {}),
                **report.metadata(),
                **file_paths(self.warehouse, self.stage.name, key),
                "seconds": round(seconds, 2),
            }
            # The data version covers all rounds.
            version = data_version_of(self.warehouse, self.stage.name, key)
            yield reports.of(key, metadata, data_version=version)
        attempt = self.context.retry_number + 1
        if self.is_unfinished and attempt <= RETRIES.max_retries:
            seconds = RETRIES.calculate_delay(attempt)
            _LOGGER.warning("Some calls were given up. They are made again in %d s.", seconds)
            raise dg.RetryRequested(RETRIES.max_retries, seconds)
        # Yield before the failure: the next stage begins only if there is an output.
        yield REPORTED
        if failures or left_out:
            raise failure_of_shards(failures, left_out)

    def load_annotator(self, *, is_scoring: bool = False) -> "Model":
        if self.annotator is None:
            raise TypeError(
                f"The stage {self.stage.name!r} loads the annotating model, which its declaration "
                "does not name. Add ANNOTATOR to its `parts`."
            )
        return self.annotator.load(self, is_scoring=is_scoring)

    def check_annotator(self) -> None:
        if self.annotator is not None:
            self.annotator.check_served(self.settings)

    @cached_property
    def base_tokenizer(self) -> Tokenizer:
        return load_tokenizer(base_model_directory(self))

    def checkpoint_folder(self, address: Address) -> Path:
        return self.home.checkpoints.joinpath(*address)

    def _make_shard(self, shard: str, report: ShardReport) -> None:
        entry = self.manifest.entry(shard)
        report.outputs |= {name: f"left out: {why}" for name, why in self.tools.unavailable.items()}
        prepare = self.stage.prepare_shard
        shared = cache_latest(lambda _: prepare(self, shard) if prepare else None)
        identity = self.annotator.identity if self.annotator else ""
        partitions = {
            partition.tool_name: partition
            for partition in self.stage.partitions(self.settings, entry, self.tools, identity)
        }
        if self.stage.are_tools_concurrent:
            self._import_transformers()
            work = {
                name: partial(self._make, partition, shared)
                for name, partition in partitions.items()
            }
            report.outputs.update(run_tools_concurrently(work))
        else:
            for name, partition in partitions.items():
                report.outputs[name] = self._make(partition, shared)
        if self.pipeline.is_merging(self.stage):
            merged, left_out = self.pipeline.merged(self.stage, partitions[ALL], self.warehouse)
            report.outputs |= {f"calls of {name}": "merged" for name in merged}
            report.outputs |= {
                f"calls of {name}": f"left out: {why}" for name, why in left_out.items()
            }
        rows = ShardRows(self.warehouse, self.settings, entry)
        for name, stored in rows.stored(self.stage.name):
            parts = json.loads(stored.get(PARTS, "{}"))
            report.settings |= self.stage.settings_in(parts, name)
        report.rows = rows.of(self.stage.name).height
        self.stage.report(rows, report)

    def _make_together(self, shards: Sequence[str]) -> None:
        """Make the outputs of small shards in one batch, if the stage can, to save SQL statements.

        If the batch fails, the shards are made one by one, so that only the faulty shard fails.
        """
        compute, outputs = self.stage.compute_batch, defaultdict[str, list[_StageOutput]](list)
        if compute is None:
            return
        with suppress(*EXPECTED_ERRORS):
            # All runs take the locks in this order, so that they cannot deadlock.
            entries = [self.manifest.entry(shard) for shard in sorted(shards)]
            if sum(entry.records for entry in entries) <= _RECORDS_TOGETHER:
                for entry in entries:
                    for each in self.stage.partitions(self.settings, entry, self.tools, ""):
                        outputs[each.tool_name].append(self._output(each, lambda _: None))
        for of_tool in outputs.values():
            with suppress(*EXPECTED_ERRORS), explain_out_of_memory(), ExitStack() as stack:
                for output in of_tool:
                    stack.enter_context(output.lock)
                checked = [(output, output.expected_if_stale()) for output in of_tool]
                self._made |= {each.address: UP_TO_DATE for each, due in checked if not due}
                stale = [(output, output.work(each)) for output, each in checked if each]
                if not stale:
                    continue
                for _, work in stale:
                    work.expected.check_agreement()
                made = list(zip(stale, compute([work for _, work in stale]), strict=True))
                stored = (
                    output.partitions(work.expected, output.finished(work, rows))
                    for (output, work), rows in made
                )
                publish(self, merge_shards(stored))
                self._made |= {work.address: rows.state for (_, work), rows in made}

    def _import_transformers(self) -> None:
        """Import before threads start: concurrent first imports of its lazy modules fail."""
        _ = self.base_tokenizer
        if self.tools.on_device & self.tools.tools.keys():
            from transformers import AutoTokenizer  # noqa: F401

    def _make(self, partition: Partition, shared: Share) -> str:
        output = self._output(partition, shared)
        try:
            return self._made.pop(output.address, None) or output.ensure()
        except NoCallsError:
            return NOT_SAMPLED

    def _output(self, partition: Partition, shared: Share) -> _StageOutput:
        name = self.stage.output_name(partition.tool_name, self.settings.sampling.round)
        address = self.stage.name, partition.shard, name
        return _StageOutput(run=self, address=address, partition=partition, shared=shared)
