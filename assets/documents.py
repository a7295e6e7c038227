"""Stores the texts of the corpus while a source is cut, one partition per shard (paper §4.1).

No run materialises this asset on its own: `corpus_manifest` stores and reports its partitions.
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
# Bump the version if the same records now give other rows; every source is then cut again. Sources
# are also cut again after an upgrade of these readers, which may read records differently.
_VERSION, _READERS = "4", ("gensim", "python-dateutil")
_MAX_NAMED = 5
# Small shards are stored together, up to this many records: one SQL statement costs more than one
# text.
_RECORDS_AT_ONCE = 1000


class MissingTextsError(ToolformerError):
    def __init__(self, entries: Sequence[ShardEntry]):
        named = [f"{entry.key} of the source {entry.source!r}" for entry in entries[:_MAX_NAMED]]
        more = len(entries) - len(named)
        shards = ", ".join(named) + (f" and of {more} more" if more else "")
        super().__init__(
            f"There are no texts of {shards}. Expected the texts stored when the source was cut. "
            "Make the source available again and run `toolformer build`, which cuts it again and "
            "keeps the keys of its shards. Or remove the source with `toolformer sources remove`."
        )


documents = dg.AssetSpec(
    DOCUMENTS,
    description="The texts of a shard; one row = one text, keyed by `document_id`. "
    "`corpus_manifest` stores them when it cuts a source. `rejected_records` has the records that "
    "cannot become texts, with the reason. `reading_losses` counts other content that could not be "
    "read. `text_marks` has the calculations and calls annotated in the texts.",
    group_name="prepare",
    kinds={"polars", "duckdb"},
    partitions_def=SHARDS_OF_TEXTS,
    deps=["corpus_manifest"],
    code_version=_VERSION,
    metadata=table_metadata(DOCUMENTS),
)


def texts_fingerprint(entry: ShardEntry, cut: CutShard | None = None) -> Fingerprint:
    """Return a fingerprint that is equal on all machines; with `cut`, it covers the parsed rows."""
    rows = {ROWS: cut.parsed_digest} if cut else {}
    return Fingerprint.of({"code_version": _VERSION, "records": entry.digest, **rows})


def stored_texts(warehouse: Warehouse) -> StoredTexts:
    """Return the readers' version, the shards that have all tables, and the shards set aside."""
    stored = warehouse.shards_with(_TABLES)
    readers = (f"{name}={importlib.metadata.version(name)}" for name in _READERS)
    return StoredTexts(" ".join((_VERSION, *readers)), stored, warehouse.retired())


def store_texts(
    warehouse: Warehouse, cut: Iterable[tuple[ShardEntry, CutShard]], *, run_id: str
) -> Iterator[dg.AssetMaterialization]:
    """Store cut shards in the order of the source, and yield one Dagster event for each.

    A shard that is already stored is neither read again nor reported.
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
            yield from _store(warehouse, together, run_id)
            together, records = [], 0
    if together:
        yield from _store(warehouse, together, run_id)


def _store(
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
    # One publication for all tables: after a kill, either all of a shard is stored or nothing.
    store_partitions(warehouse, {(table, ALL): (frames[table], metadata) for table in _TABLES})
    of_shards = {
        table: frame.partition_by("shard", as_dict=True) for table, frame in frames.items()
    }
    for entry, _ in together:
        of_shard = {
            table: of_shards[table].get((entry.key,), frames[table].clear()) for table in _TABLES
        }
        files = file_paths(warehouse, DOCUMENTS, entry.key)
        yield _event(entry, metadata[entry.key][FINGERPRINT], of_shard, files)


def _rows(shard: CutShard) -> Iterator[tuple[str, dict[str, Any]]]:
    for parsed in shard.texts():
        fields = fields_of(parsed, but=("losses", "calculations"))
        if isinstance(parsed, ParsedDocument):
            guess = guess_language(parsed.text)
            yield DOCUMENTS, {**fields, "language": guess and guess.language}
            for number, annotation in enumerate(parsed.calculations):
                yield (
                    TEXT_MARKS,
                    {
                        "document_id": parsed.document_id,
                        "number": number,
                        "character_offset": annotation.offset,
                        "called_tool": annotation.tool,
                        "expression": annotation.expression,
                        "result": annotation.result,
                    },
                )
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


def _event(
    entry: ShardEntry,
    version: str,
    frames: Mapping[str, pl.DataFrame],
    files: Mapping[str, dg.PathMetadataValue],
) -> dg.AssetMaterialization:
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
    """Return the Dagster event for a stored shard; `version` is the fingerprint of its texts."""
    tags = data_version_tags(version)
    return dg.AssetMaterialization(DOCUMENTS, partition=entry.key, tags=tags, **shown)
