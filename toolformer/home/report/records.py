"""Counts what happened to the records of the sources: texts, rejections and losses."""

from collections import Counter
from collections.abc import Sequence

from toolformer.sources.losses import losses_in_words
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.reasons import Tally
from warehouse.warehouse import Warehouse


def records_read(warehouse: Warehouse, entries: Sequence[ShardEntry] | None = None) -> Tally:
    """Count usable and rejected records: of all stored shards, or of those that `entries` name."""
    if entries is not None:
        warehouse = warehouse.limited_to([entry.key for entry in entries])
    counts: dict[str | None, int] = dict(warehouse.ask("records_by_reason").iter_rows())
    rejected = Counter({reason: count for reason, count in counts.items() if reason is not None})
    records = counts.values() if entries is None else (entry.records for entry in entries)
    return Tally(sum(records), rejected)


def reading_losses(warehouse: Warehouse, entries: Sequence[ShardEntry]) -> list[tuple[str, int]]:
    limited = warehouse.limited_to([entry.key for entry in entries])
    return losses_in_words(limited.ask("losses_by_kind").iter_rows())
