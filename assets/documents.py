"""The texts of the corpus (paper §4.1): stored while a source is cut, one partition per shard.

An asset that no run makes by itself: `corpus_manifest` stores and reports its partitions.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from assets.inputs import RUN
from assets.outputs import store_partitions
from assets.partition_events import data_version_tags
from assets.shard_report import ShardReport
from assets.shard_texts import typed_frame
from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import FINGERPRINT, ROWS, Fingerprint
from toolformer.home.metadata import file_paths, table_metadata
from toolformer.home.partitions import SHARDS_OF_TEXTS
from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import StoredTexts
from toolformer.sources.losses import losses_in_words
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.records import ParsedDocument, fields_of
from tools.translation.languages import guess_language
from warehouse.errors import DamagedPartitionError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

DOCUMENTS, REJECTED_RECORDS, READING_LOSSES = "documents", "rejected_records", "reading_losses"
TEXT_MARKS = "text_marks"
_TABLES = (REJECTED_RECORDS, READING_LOSSES, TEXT_MARKS, DOCUMENTS)
# Bumped when the same records give other rows; every source is cut again then, and where other
# releases of the readers may read them otherwise.
_VERSION, _READERS = "4", ("gensim", "python-dateutil")
_MAX_NAMED = 5
# Shards of so few are stored together: a statement of DuckDB takes longer than a text.
_RECORDS_AT_ONCE = 1000


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
    "calculations and calls that the texts marked are in `text_marks`.",
    group_name="prepare",
    kinds={"polars", "duckdb"},
    partitions_def=SHARDS_OF_TEXTS,
    deps=["corpus_manifest"],
    code_version=_VERSION,
    metadata=table_metadata(DOCUMENTS),
)


def texts_fingerprint(entry: ShardEntry, cut: CutShard | None = None) -> Fingerprint:
    """What the texts of a shard are made of, and once cut, what they are; alike on all machines."""
    rows = {ROWS: cut.parsed_digest} if cut else {}
    return Fingerprint.of({"code_version": _VERSION, "records": entry.digest, **rows})


def stored_texts(warehouse: Warehouse) -> StoredTexts:
    """Which shards have their texts and rejected records in the warehouse, or set aside from it."""
    stored = warehouse.shards_with(_TABLES)
    readers = (f"{name}={importlib.metadata.version(name)}" for name in _READERS)
    return StoredTexts(" ".join((_VERSION, *readers)), stored, warehouse.retired())


def store_texts(
    warehouse: Warehouse, cut: Iterable[tuple[ShardEntry, CutShard]], *, run_id: str
) -> Iterator[dg.AssetMaterialization]:
    """Store what the records of shards gave, in the order of the source, unless it is stored.

    Yields:
        The events for Dagster; none for a shard whose texts were there, which are not read then.

    Raises:
        PartitionValidationError, StorageError: they cannot be stored.
    """
    together: list[tuple[ShardEntry, CutShard]] = []
    records = 0
    for entry, shard in cut:
        digest = texts_fingerprint(entry, shard).digest
        if all(_is_stored(warehouse, table, entry.key, digest) for table in _TABLES):
            continue
        together.append((entry, shard))
        records += entry.records
        if records >= _RECORDS_AT_ONCE:
            yield from _stored(warehouse, together, run_id)
            together, records = [], 0
    if together:
        yield from _stored(warehouse, together, run_id)


def _stored(
    warehouse: Warehouse, together: Sequence[tuple[ShardEntry, CutShard]], run_id: str
) -> Iterator[dg.AssetMaterialization]:
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in _TABLES}
    for entry, shard in together:
        for table, row in _rows(shard):
            rows[table].append({**row, "shard": entry.key})
    frames = {table: typed_frame(table, of_table) for table, of_table in rows.items()}
    metadata = {
        entry.key: {**texts_fingerprint(entry, shard).metadata(), RUN: run_id}
        for entry, shard in together
    }
    # All of them: what was published together stands or falls together.
    store_partitions(warehouse, {(table, ALL): (frames[table], metadata) for table in _TABLES})
    of_shards = {
        table: frame.partition_by("shard", as_dict=True) for table, frame in frames.items()
    }
    for entry, _ in together:
        of_shard = {
            table: of_shards[table].get((entry.key,), frames[table].clear()) for table in _TABLES
        }
        files = file_paths(warehouse, DOCUMENTS, entry.key)
        yield _reported(entry, metadata[entry.key][FINGERPRINT], of_shard, files)


def _rows(shard: CutShard) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the records of a shard gave, by the table it stands in."""
    for parsed in shard.texts():
        fields = fields_of(parsed, but=("losses", "calculations"))
        if isinstance(parsed, ParsedDocument):
            guess = guess_language(parsed.text)
            yield DOCUMENTS, {**fields, "language": guess and guess.language}
            for number, mark in enumerate(parsed.calculations):
                of_text = {"document_id": parsed.document_id, "number": number}
                said = {"expression": mark.expression, "result": mark.result}
                place = {"character_offset": mark.offset, "called_tool": mark.tool}
                yield TEXT_MARKS, {**of_text, **place, **said}
        else:
            yield REJECTED_RECORDS, fields
    for loss, count in sorted(shard.losses.items()):
        yield READING_LOSSES, {**loss._asdict(), "count": count}


def _is_stored(warehouse: Warehouse, table: str, shard: str, digest: str) -> bool:
    try:
        metadata = warehouse.partition_metadata(table, shard, ALL)
    except DamagedPartitionError:
        return False
    return metadata is not None and metadata.get(FINGERPRINT) == digest


def _reported(
    entry: ShardEntry,
    version: str,
    frames: Mapping[str, pl.DataFrame],
    files: Mapping[str, dg.PathMetadataValue],
) -> dg.AssetMaterialization:
    """How many records of a shard became texts, why others did not, and what was lost."""
    texts, rejected = frames[DOCUMENTS], frames[REJECTED_RECORDS]
    report = ShardReport(rows=texts.height)
    report.count_flow(
        {"records": entry.records, "documents": texts.height, "rejected records": rejected.height}
    )
    if not rejected.is_empty():
        report.count_reasons("rejected", rejected)
    if not frames[READING_LOSSES].is_empty():
        losses = frames[READING_LOSSES].group_by("kind", "name", maintain_order=True)
        report.count(dict(losses_in_words(losses.agg(pl.col("count").sum()).iter_rows())))
    report.preview = texts.select("text", "title", "published_on", "language", "url")
    shown = {**report.metadata(), **files}
    return reported_texts(entry, version, description=report.flow, metadata=shown)


def reported_texts(entry: ShardEntry, version: str, **shown: Any) -> dg.AssetMaterialization:
    """The event for Dagster that a shard's texts are stored; `shown` is its further fields.

    Args:
        version: fingerprint of the texts.
    """
    tags = data_version_tags(version)
    return dg.AssetMaterialization(DOCUMENTS, partition=entry.key, tags=tags, **shown)
