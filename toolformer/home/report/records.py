"""What became of the records that were read: texts, or why not, and what was lost of them."""

from collections import Counter
from collections.abc import Sequence

from toolformer.sources.losses import losses_in_words
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.reasons import Tally
from warehouse.warehouse import Warehouse


def records_read(warehouse: Warehouse, entries: Sequence[ShardEntry] | None = None) -> Tally:
    """How many records gave a text, and why the others gave none; of some shards, or of all.

    Of some shards the records are those that they were cut from, stored or not.
    """
    if entries is not None:
        warehouse = warehouse.limited_to([entry.key for entry in entries])
    counts: dict[str | None, int] = dict(warehouse.ask("records_by_reason").iter_rows())
    rejected = Counter({reason: count for reason, count in counts.items() if reason is not None})
    records = counts.values() if entries is None else (entry.records for entry in entries)
    return Tally(sum(records), rejected)


def reading_losses(warehouse: Warehouse, entries: Sequence[ShardEntry]) -> list[tuple[str, int]]:
    """What could not be read of some shards, in words, and how often."""
    of_these = warehouse.limited_to([entry.key for entry in entries])
    return losses_in_words(of_these.ask("losses_by_kind").iter_rows())
