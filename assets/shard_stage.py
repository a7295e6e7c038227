"""What the stages of a shard share: slices replaced only when stale, and failures kept apart.

Does not compute rows: each stage hands in a function that does.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.inputs import Input, Wanted, look_at
from assets.outputs import DONE, Made, publish, replace_slice_if_stale
from dagster_project.expected_errors import EXPECTED_ERRORS, explained
from dagster_project.home import Home
from dagster_project.metadata import table_markdown
from dagster_project.progress import ProgressCallback, progress_of
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from toolformer.errors import ToolformerError
from toolformer.forward.checkpoint import Checkpoint
from warehouse.layout import name_in_round
from warehouse.schema import table_schema
from warehouse.warehouse import Warehouse

_PREVIEW = 12
_PREVIEW_OF_A_TOOL = 2
DONE_REGROUPED = "done, regrouped: memory ran out, so batches were halved"
NOT_SAMPLED = "not sampled"
# By table: what holds for its rows in each shard, and the query of rows that break it.
_RULES = {"candidate_calls": ("A call_id of candidate_calls belongs to one row", "duplicate_calls")}
# The Dagster run that made a slice, in its metadata.
RUN = "run"


class BrokenRuleError(ToolformerError):
    """Rows of a shard contradict each other."""


@dataclass(slots=True)
class ShardReport:
    """What happened to one shard in one stage, for the asset's metadata.

    Attributes:
        slices: state by tool (or table): done, up to date, not sampled, unavailable with remedy.
        counts: numbers worth seeing, such as rows in, rows out, dropped per reason.
        preview: a few rows.
    """

    slices: dict[str, str] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    preview: pl.DataFrame | None = None

    def count(self, numbers: Mapping[str, float]) -> None:
        """Add numbers to the counts."""
        for name, number in numbers.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def count_reasons(self, fate: str, rows: pl.DataFrame) -> None:
        """Add how many rows met a fate for each reason, the commonest first."""
        reasons = (
            rows["reason"]
            .value_counts(name="rows")
            .sort("rows", "reason", descending=[True, False])
        )
        self.count({f"{fate}: {reason}": number for reason, number in reasons.iter_rows()})

    def preview_each_tool(self, rows: pl.DataFrame) -> None:
        """Take the first rows of each tool for the preview."""
        self.preview = rows.group_by("tool", maintain_order=True).head(_PREVIEW_OF_A_TOOL)

    def metadata(self, rows: int) -> dict[str, Any]:
        """As Dagster metadata of one partition."""
        metadata: dict[str, Any] = {
            "dagster/partition_row_count": rows,
            "slices": dg.MetadataValue.md(_state_table(self.slices)),
            **self.counts,
        }
        if self.preview is not None and not self.preview.is_empty():
            metadata["preview"] = dg.MetadataValue.md(table_markdown(self.preview, rows=_PREVIEW))
        return metadata


@dataclass(slots=True)
class ShardStage:
    """One stage working on the shards of one run."""

    context: dg.AssetExecutionContext
    table: str
    home: Home
    settings: Settings
    warehouse: Warehouse
    force: bool

    @classmethod
    def open(
        cls,
        context: dg.AssetExecutionContext,
        table: str,
        settings: SettingsResource,
        warehouse: WarehouseResource,
    ) -> "ShardStage":
        """Check the settings and make the warehouse ready, before any expensive load."""
        with expected_errors():
            return cls(
                context, table, settings.home(), settings.load(), warehouse.open(), settings.force
            )

    def run(self, make_shard: Callable[[str, ShardReport], None]) -> dg.MaterializeResult:
        """Work on every shard of the run; one that fails does not stop the others.

        Raises:
            dg.Failure: after all shards, naming those that failed and why.
        """
        began = time.monotonic()
        failures: dict[str, Exception] = {}
        for key in self.context.partition_keys:
            report = ShardReport()
            shard_began = time.monotonic()
            try:
                make_shard(key, report)
                self._check_rules(key)
                rows = self.rows_of(self.table, key).height
            except EXPECTED_ERRORS as error:
                self.context.log.error(f"{key}: {error}")
                failures[key] = error
                continue
            metadata = report.metadata(rows)
            metadata["seconds"] = round(time.monotonic() - shard_began, 2)
            self.context.add_asset_metadata(metadata, partition_key=key)
        if failures:
            raise failure_of(*failures.values(), shards=list(failures))
        return dg.MaterializeResult(
            metadata={
                "shards": len(self.context.partition_keys),
                "run seconds": round(time.monotonic() - began, 2),
                "preset": self.settings.preset,
                **({"round": self.settings.sampling.round} if _has_rounds(self.table) else {}),
            }
        )

    def _check_rules(self, shard: str) -> None:
        """See that the rows of a shard break no rule that spans several slices.

        Raises:
            BrokenRuleError: with the rule and the first row.
        """
        if self.table not in _RULES:
            return
        rule, query = _RULES[self.table]
        broken = self.warehouse.ask(query, shards={shard})
        if not broken.is_empty():
            row = ", ".join(f"{name} {value}" for name, value in broken.row(0, named=True).items())
            raise BrokenRuleError(
                f"{rule}; broken {broken.height} times in {shard}, first by {row}. Make the shard "
                f"again: `toolformer build --force --shards {shard}`."
            )

    def slice_name(self, name: str) -> str:
        """The name of a slice in the round of this run, such as `round-2.Calendar`."""
        return name_in_round(self.settings.sampling.round, name)

    def rows_of(self, table: str, shard: str) -> pl.DataFrame:
        """The rows of a shard: of a table that has rounds, those of this run's round alone."""
        number = self.settings.sampling.round if _has_rounds(table) else None
        return self.warehouse.read_slices(table, shard, round_number=number)

    def replace_if_stale(
        self,
        shard: str,
        slice_name: str,
        wanted: Callable[[], Wanted],
        make: Callable[[Wanted], Made],
        *,
        hold_device: Callable[[], object] | None = None,
    ) -> str:
        """Make a slice of this stage's table unless it is there with the same fingerprint.

        Args:
            shard, slice_name: which.
            wanted, make: see `replace_slice_if_stale`.
            hold_device: waits for the device that `make` needs.

        Returns:
            The state of what was made, or `up to date`.
        """
        return replace_slice_if_stale(
            self.warehouse,
            self.home,
            (self.table, shard, slice_name),
            wanted,
            make,
            force=self.force,
            hold_device=hold_device,
            leftovers=self._checkpoint_folder(shard, slice_name),
            made_by={RUN: self.context.run.run_id},
        )

    def store_beside(
        self,
        table: str,
        shard: str,
        slice_name: str,
        rows: pl.DataFrame,
        *,
        metadata: Mapping[str, str],
    ) -> None:
        """Replace a slice of a table beside this stage's; raises as `publish`."""
        publish(self.warehouse, self.home, (table, shard, slice_name), rows, metadata)

    def has_input(self, table: str, shard: str, slice_name: str) -> bool:
        """Whether an upstream slice is there."""
        return look_at(self.warehouse, table, shard, slice_name) is not None

    def input(self, table: str, shard: str, slice_name: str) -> Input:
        """An upstream slice as it is now.

        Raises:
            ToolformerError: there is none.
        """
        found = look_at(self.warehouse, table, shard, slice_name)
        if found is None:
            raise ToolformerError(
                f"The shard {shard!r} has no rows of {table} ({slice_name}) yet. Materialise "
                f"`{table}` for it first (`toolformer build` does so)."
            )
        return found

    def checkpoint(self, shard: str, slice_name: str, fingerprint: str) -> Checkpoint:
        """Where an unfinished slice keeps what it has."""
        folder = self._checkpoint_folder(shard, slice_name)
        checkpoint = Checkpoint(folder, fingerprint=fingerprint)
        if checkpoint.resumed_steps:
            self.context.log.info(
                f"{shard} {slice_name}: going on after {checkpoint.resumed_steps} finished steps"
            )
        return checkpoint

    def _checkpoint_folder(self, shard: str, slice_name: str) -> Path:
        return self.home.checkpoints / self.table / shard / slice_name

    def progress(self, stage: str, *, detail: str) -> ProgressCallback:
        """Shows how far a long piece of work is; see `progress_of`."""
        return progress_of(stage, self.context.log, detail=detail)


def state_of(geometry: Mapping[str, str]) -> str:
    """How a slice was made whose batches these were."""
    return DONE_REGROUPED if geometry.get("regrouped") == "true" else DONE


@contextmanager
def expected_errors() -> Iterator[None]:
    """Errors of input and set-up inside the block become failures that say what to do."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        raise failure_of(error) from error


def failure_of(*errors: Exception, shards: list[str] | None = None) -> dg.Failure:
    """Expected errors as a failure that says what to do and is not retried."""
    if not shards:
        return dg.Failure(description=explained(errors[0]), allow_retries=False)
    lines = [f"{shard}: {explained(error)}" for shard, error in zip(shards, errors, strict=True)]
    return dg.Failure(
        description="\n".join(
            [
                f"{len(shards)} shards failed; what the others made is stored, and a re-run costs "
                "only the failed ones.",
                *lines,
            ]
        ),
        metadata={"failed shards": ", ".join(shards)},
        allow_retries=False,
    )


def _has_rounds(table: str) -> bool:
    return "round" in table_schema(table).column_names


def _state_table(states: Mapping[str, str]) -> str:
    lines = ["| slice | state |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {state} |" for name, state in states.items())])
