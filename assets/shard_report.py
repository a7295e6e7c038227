"""What the page of an asset shows of a shard, and the rows that it is taken from."""

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

_PREVIEW = 12
_PREVIEW_OF_A_TOOL = 2
DONE_REGROUPED = "done, regrouped: memory ran out, so batches were halved"


@dataclass(slots=True)
class ShardReport:
    """What happened to one shard in one stage, for the asset's metadata.

    Attributes:
        outputs: state by tool (or `all`): done, up to date, not sampled, left out with reason.
        counts: numbers worth seeing, such as rows in, rows out, dropped per reason.
        flow: what went in and what became of it, in words.
        settings: those that the rows were made with, by path, as JSON.
    """

    outputs: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    flow: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    preview: pl.DataFrame | None = None

    def count(self, numbers: Mapping[str, float]) -> None:
        """Add numbers to the counts."""
        for name, number in numbers.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def count_flow(self, numbers: Mapping[str, int]) -> None:
        """Add what went in and what became of it, which the log says too."""
        self.count(numbers)
        self.flow = ", ".join(f"{number:,} {name}" for name, number in numbers.items())

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

    def line(self, seconds: float) -> str:
        """What the log of the run says of the shard, which took so long."""
        states = self.outputs.values()
        is_made = any(state.startswith(DONE) for state in states)
        state = UP_TO_DATE if UP_TO_DATE in states and not is_made else ""
        return ", ".join(filter(None, (state, self.flow, f"{seconds:.1f} s")))

    def metadata(self) -> dict[str, Any]:
        """The report as Dagster metadata of one partition."""
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
            metadata["preview"] = table_markdown(self.preview, rows=_PREVIEW)
        return metadata


@dataclass(frozen=True, slots=True)
class ShardRows:
    """What is stored of a shard, in the round of a run."""

    warehouse: Warehouse
    settings: Settings
    entry: ShardEntry
    _read: dict[str, pl.DataFrame] = field(default_factory=dict, init=False)

    def of(self, table: str) -> pl.DataFrame:
        """The rows of a table, read once; of one that has rounds, those of this run's round."""
        if table not in self._read:
            has_rounds = "round" in table_schema(table).column_names
            number = self.settings.sampling.round if has_rounds else None
            key = self.entry.key
            self._read[table] = self.warehouse.read_partitions(table, key, round_number=number)
        return self._read[table]

    def metadata_sum(self, table: str, name: str) -> int:
        """The sum of a number that stands in the metadata of the shard's outputs."""
        return sum(int(metadata.get(name, 0)) for _, metadata in self.stored(table))

    def stored(self, table: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the tool and the metadata of each of the shard's outputs of the round."""
        for partition in self.warehouse.partitions(table, self.entry.key):
            number, tool = split_round(partition.name)
            if number == self.settings.sampling.round:
                yield (
                    tool,
                    self.warehouse.partition_metadata(table, self.entry.key, partition.name) or {},
                )


def state_of(geometry: Mapping[str, str]) -> str:
    """How a partition was made whose batches these were."""
    return DONE_REGROUPED if geometry.get("regrouped") == "true" else DONE
