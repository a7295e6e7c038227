"""Collects the counts and the preview that an asset's page shows for a shard."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl

from assets.outputs import DONE, UP_TO_DATE
from toolformer.home.metadata import table_markdown
from toolformer.settings.sections import Settings
from toolformer.sources.manifest import ShardEntry
from toolformer.training.model_card import markdown_table
from warehouse.layout import split_round
from warehouse.schema import table_schema
from warehouse.warehouse import Warehouse

_PREVIEW_ROWS = 12
_PREVIEW_ROWS_PER_TOOL = 2
DONE_REGROUPED = "done, regrouped: memory ran out, so batches were halved"


@dataclass(slots=True)
class ShardReport:
    """Outcome of a stage for one shard; `flow` says what went in and what became of it."""

    outputs: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    flow: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    preview: pl.DataFrame | None = None

    def count(self, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def count_flow(self, numbers: Mapping[str, int]) -> None:
        """Add what went in and what became of it; the log shows these numbers too."""
        self.count(numbers)
        self.flow = ", ".join(f"{number:,} {name}" for name, number in numbers.items())

    def count_reasons(self, fate: str, rows: pl.DataFrame) -> None:
        """Count rows per reason, most frequent first, labelled `<fate>: <reason>`."""
        reasons = (
            rows["reason"]
            .value_counts(name="rows")
            .sort("rows", "reason", descending=[True, False])
        )
        self.count({f"{fate}: {reason}": number for reason, number in reasons.iter_rows()})

    def preview_each_tool(self, rows: pl.DataFrame) -> None:
        self.preview = rows.group_by("tool", maintain_order=True).head(_PREVIEW_ROWS_PER_TOOL)

    def line(self, seconds: float) -> str:
        states = self.outputs.values()
        is_made = any(state.startswith(DONE) for state in states)
        state = UP_TO_DATE if UP_TO_DATE in states and not is_made else ""
        return ", ".join(filter(None, (state, self.flow, f"{seconds:.1f} s")))

    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"dagster/partition_row_count": self.rows}
        if self.outputs:
            states = markdown_table(("partition", "state"), self.outputs.items())
            metadata["partitions"] = dg.MetadataValue.md(states)
        if self.settings:
            settings = sorted(self.settings.items())
            metadata["settings"] = dg.MetadataValue.md(
                markdown_table(("setting", "value"), settings)
            )
        metadata |= self.counts
        if self.preview is not None and not self.preview.is_empty():
            metadata["preview"] = table_markdown(self.preview, rows=_PREVIEW_ROWS)
        return metadata


@dataclass(frozen=True, slots=True)
class ShardRows:
    warehouse: Warehouse
    settings: Settings
    entry: ShardEntry
    _read: dict[str, pl.DataFrame] = field(default_factory=dict, init=False)

    def of(self, table: str) -> pl.DataFrame:
        """Return the rows of a table, only of this run's round if the table has rounds."""
        if table not in self._read:
            has_rounds = "round" in table_schema(table).column_names
            number = self.settings.sampling.round if has_rounds else None
            key = self.entry.key
            self._read[table] = self.warehouse.read_partitions(table, key, round_number=number)
        return self._read[table]

    def metadata_sum(self, table: str, name: str) -> int:
        return sum(int(metadata.get(name, 0)) for _, metadata in self.stored(table))

    def stored(self, table: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        for partition in self.warehouse.partitions(table, self.entry.key):
            number, tool = split_round(partition.name)
            if number == self.settings.sampling.round:
                yield (
                    tool,
                    self.warehouse.partition_metadata(table, self.entry.key, partition.name) or {},
                )


def state_of(geometry: Mapping[str, str]) -> str:
    """Return the state of a partition, derived from the metadata of its batches."""
    return DONE_REGROUPED if geometry.get("regrouped") == "true" else DONE
