"""The calls behind C* that the filter dropped, for the texts that are trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from assets.inputs import Input, merged_part, stored_input
from toolformer.augmentation import KeptCall
from toolformer.errors import ToolformerError
from toolformer.forward.windows import WindowKey
from toolformer.training.augmented_text import AugmentedText
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

_TABLES = ("filtered_calls", "executed_calls", "candidate_calls")
# How the fingerprint of C* names the decisions on one tool's calls.
_PART = merged_part("filtered_calls", "")


@dataclass(frozen=True, slots=True)
class CallPartitions:
    """The partitions with one tool's calls of a shard and round.

    Attributes:
        inputs: its decisions, results and candidates, as far as they are there.
    """

    shard: str
    round: int
    tool: str
    inputs: tuple[Input, ...]


def partitions_behind(
    warehouse: Warehouse, augmented: Input, shard: str, round_number: int
) -> list[CallPartitions]:
    """The partitions with the calls that a shard of C* was merged from, tool by tool."""
    partitions = []
    for part in sorted(augmented.parts):
        if part.startswith(_PART):
            tool = part.removeprefix(_PART)
            name = name_in_round(round_number, tool)
            inputs = (stored_input(warehouse, table, shard, name) for table in _TABLES)
            there = tuple(stored for stored in inputs if stored is not None)
            partitions.append(CallPartitions(shard, round_number, tool, there))
    return partitions


def dropped_calls(
    warehouse: Warehouse, partitions: Iterable[CallPartitions], texts: Sequence[AugmentedText]
) -> dict[WindowKey, list[KeptCall]]:
    """Calls of some texts that were executed and scored, and not kept.

    One partition is read at a time, and only rows of these texts are kept of it.

    Raises:
        ToolformerError: a partition is not there any more.
    """
    windows = pl.DataFrame(
        [(*text.key, text.round, text.window_offset) for text in texts],
        schema={
            "document_id": pl.String,
            "window_index": pl.Int32,
            "round": pl.Int32,
            "window_offset": pl.Int32,
        },
        orient="row",
    )
    shards = {text.shard for text in texts}
    dropped: dict[WindowKey, list[KeptCall]] = {}
    for partition in partitions:
        if partition.shard not in shards:
            continue
        if len(partition.inputs) < len(_TABLES):
            raise ToolformerError(
                f"The calls of {partition.tool} of {partition.shard}, from which its "
                "augmented texts were merged, are not there any more. Run `toolformer build`, or "
                "wait for the one that is running; then run the same again."
            )
        name = name_in_round(partition.round, partition.tool)
        candidates = warehouse.read_partition("candidate_calls", partition.shard, name).join(
            windows, on=["document_id", "window_index", "round"], how="inner"
        )
        if candidates.is_empty():
            continue
        decided = warehouse.read_partition("filtered_calls", partition.shard, name).filter(
            # Where a call was lost before its third loss was computed, this is an upper bound.
            ~pl.col("is_kept"),
            pl.col("loss_reduction").is_finite(),
        )
        results = warehouse.read_partition("executed_calls", partition.shard, name)
        rows = (
            candidates.join(decided.select("call_id", "loss_reduction"), on="call_id")
            .join(results.select("call_id", "result"), on="call_id")
            .filter(pl.col("result").is_not_null())
            .with_columns(pl.col("character_offset") - pl.col("window_offset"))
        )
        for row in rows.iter_rows(named=True):
            call = KeptCall(**{name: row[name] for name in KeptCall.__slots__})
            dropped.setdefault((row["document_id"], row["window_index"]), []).append(call)
    return dropped
