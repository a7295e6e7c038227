"""The texts of the corpus (paper §4.1): stored while a source is cut, one partition per shard.

An asset that no run makes by itself: `corpus_manifest` stores and reports its partitions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import polars as pl

from assets.inputs import RUN
from assets.outputs import store_partitions
from assets.partition_events import data_version_tags
from assets.shard_report import ShardReport
from assets.shard_texts import typed_frame
from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.metadata import table_metadata
from toolformer.home.partitions import SHARDS_OF_TEXTS
from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import StoredTexts
from toolformer.sources.losses import losses_in_words
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.reasons import Tally
from toolformer.sources.records import ParsedDocument
from tools.translation.identification import guess_language
from warehouse.errors import DamagedPartitionError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

DOCUMENTS, REJECTED_RECORDS, READING_LOSSES = "documents", "rejected_records", "reading_losses"
TEXT_MARKS = "text_marks"
_STORED_TOGETHER = (REJECTED_RECORDS, READING_LOSSES, TEXT_MARKS, DOCUMENTS)
# Bumped when the same records give other rows; every source is cut again then.
_VERSION = "3"
_MAX_NAMED = 5


class MissingTextsError(ToolformerError):
    """Texts of registered shards are gone.

    Args:
        entries: the shards, at least one.
    """

    def __init__(self, entries: Sequence[ShardEntry]):
        named = [f"{entry.key} of the source {entry.source!r}" for entry in entries[:_MAX_NAMED]]
        more = len(entries) - len(named)
        shards = ", ".join(named) + (f" and of {more} more" if more else "")
        super().__init__(
            f"There are no texts of {shards}. Expected those that were stored when the source was "
            "cut. Make the source available again and run `toolformer build`: it is cut again, and "
            "the shards keep their keys. Or take it out with `toolformer sources remove`."
        )


documents = dg.AssetSpec(
    DOCUMENTS,
    description="The texts of a shard; one row = one text, keyed by `document_id`. Stored when "
    "`corpus_manifest` cuts a source. A record that cannot become a text is counted and kept with "
    "its reason in `rejected_records`; what else could not be read is counted in `reading_losses`; "
    "calculations that people marked are in `text_marks`.",
    group_name="prepare",
    kinds={"polars", "duckdb"},
    partitions_def=SHARDS_OF_TEXTS,
    deps=["corpus_manifest"],
    code_version=_VERSION,
    metadata=table_metadata(DOCUMENTS),
)


def texts_fingerprint(entry: ShardEntry) -> Fingerprint:
    """What the texts of a shard are made of; alike on all machines for the same records."""
    return Fingerprint.of({"code_version": _VERSION, "records": entry.digest})


def stored_texts(warehouse: Warehouse) -> StoredTexts:
    """Which shards have their texts and rejected records in the warehouse, or set aside from it."""
    stored = warehouse.store.shards_with(_STORED_TOGETHER)
    return StoredTexts(_VERSION, stored, warehouse.store.retired())


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


def reading_losses(
    warehouse: Warehouse, entries: Sequence[ShardEntry] | None = None
) -> list[tuple[str, int]]:
    """What could not be read, in words, and how often; of some shards, or of all."""
    if entries is not None:
        warehouse = warehouse.limited_to([entry.key for entry in entries])
    return losses_in_words(warehouse.ask("losses_by_kind").iter_rows())


def store_texts(
    warehouse: Warehouse,
    entry: ShardEntry,
    shard: CutShard,
    *,
    run_id: str,
) -> dg.AssetMaterialization | None:
    """Store what the records of a shard gave, in the order of the source, unless it is stored.

    Returns:
        The event for Dagster; None where the texts were there, which are not read then.

    Raises:
        PartitionValidationError, StorageError: they cannot be stored.
        StoreConflictError: another machine has stored others meanwhile.
    """
    fingerprint = texts_fingerprint(entry)
    if all(_is_stored(warehouse, table, entry.key, fingerprint) for table in _STORED_TOGETHER):
        return None
    rows, rejections, marks = [], [], []
    for parsed in shard.texts():
        fields = asdict(parsed)
        if isinstance(parsed, ParsedDocument):
            guess = guess_language(parsed.text)
            del fields["losses"], fields["calculations"]
            fields["damaged_spans"] = [
                {"start": start, "stop": stop} for start, stop in parsed.damaged_spans
            ]
            rows.append({**fields, "shard": entry.key, "language": guess and guess.language})
            of_text = {"document_id": parsed.document_id, "shard": entry.key}
            for number, mark in enumerate(parsed.calculations):
                said = {"expression": mark.expression, "result": mark.result}
                marks.append({**of_text, "number": number, "character_offset": mark.offset, **said})
        else:
            rejections.append({**fields, "shard": entry.key})
    losses = [
        {"shard": entry.key, **loss._asdict(), "count": count}
        for loss, count in sorted(shard.losses.items())
    ]
    frames = {
        READING_LOSSES: typed_frame(READING_LOSSES, losses),
        TEXT_MARKS: typed_frame(TEXT_MARKS, marks),
        DOCUMENTS: typed_frame(DOCUMENTS, rows),
        REJECTED_RECORDS: typed_frame(REJECTED_RECORDS, rejections),
    }
    metadata = {**fingerprint.metadata(), RUN: run_id}
    # All of them: what was published together stands or falls together.
    made = {(table, ALL): (rows_of_table, metadata) for table, rows_of_table in frames.items()}
    store_partitions(warehouse, entry.key, made)
    return _reported(entry, frames)


def _is_stored(warehouse: Warehouse, table: str, shard: str, fingerprint: Fingerprint) -> bool:
    try:
        metadata = warehouse.partition_metadata(table, shard, ALL)
    except DamagedPartitionError:
        return False
    return metadata is not None and metadata.get(FINGERPRINT) == fingerprint.digest


def _reported(entry: ShardEntry, frames: Mapping[str, pl.DataFrame]) -> dg.AssetMaterialization:
    """How many records of a shard became texts, why others did not, and what was lost."""
    texts, rejected = frames[DOCUMENTS], frames[REJECTED_RECORDS]
    report = ShardReport(rows=texts.height)
    report.count_flow(
        {
            "records": entry.records,
            "documents": texts.height,
            "rejected records": rejected.height,
        }
    )
    report.count_reasons("rejected", rejected)
    losses = frames[READING_LOSSES].group_by("kind", "name", maintain_order=True)
    report.count(dict(losses_in_words(losses.agg(pl.col("count").sum()).iter_rows())))
    report.preview = texts.select("text", "title", "published_on", "language", "url")
    return reported_texts(entry, description=report.flow, metadata=report.metadata())


def reported_texts(entry: ShardEntry, **shown: Any) -> dg.AssetMaterialization:
    """The event for Dagster that a shard's texts are stored; `shown` is its further fields."""
    tags = data_version_tags(texts_fingerprint(entry).digest)
    return dg.AssetMaterialization(DOCUMENTS, partition=entry.key, tags=tags, **shown)
