"""Small correct rows of every table, to be changed one value at a time; and how they are stored."""

import datetime
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from toolformer.base.atomic_files import write_atomically
from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.catalogue import Catalogue, read_catalogue
from warehouse.labels import append_labels
from warehouse.layout import catalogue_file
from warehouse.schema import ALL, TableSchema, sql_texts, table_schema, tables
from warehouse.warehouse import Warehouse

SHARD = "shard-00000"
TEXT = "Out of 1400 participants, 400 (or 29%) passed."

CALL = {
    "call_id": "c1",
    "position": 3,
    "character_offset": 34,
    "tool": "Calculator",
    "arguments": "400 / 1400",
    "result": "0.29",
    "loss_reduction": 1.5,
}

LABEL = {
    "labelled_at": "2026-01-02T03:04:05.000006+00:00",
    "rater": "Anna",
    "label": "useful",
    "call_id": "c1",
    "document_id": "d1",
    "tool": "Calculator",
    "arguments": "400 / 1400",
    "result": "0.29",
    "text_before": "Out of 1400 participants, 400 (or ",
    "text_after": "29%) passed.",
}

# Of a call that the filter would keep with the result of another call too.
SAMPLED: dict[str, object] = {
    "is_in_chance_sample": True,
    "swapped_call_id": "x",
    "loss_with_swapped_result": 2.0,
    "contrast": 0.5,
    "chance_reduction": 1.0,
    "is_kept_by_chance": True,
}

# In every table that has such a column.
_COMMON: dict[str, object] = {
    "call_id": "c1",
    "shard": SHARD,
    "tool": "Calculator",
    "document_id": "d1",
    "window_index": 0,
    "position": 3,
    "proposed": "none",
    "round": 1,
}
_SCORED: dict[str, object] = {
    "tokens_used": 5,
    "loss_without_call": 3.0,
    "loss_call_without_result": 3.5,
    "loss_with_result": 1.5,
    "is_in_chance_sample": False,
    "lowest_threshold": 0.1,
    "baseline": "minimum",
    "precision": "float32",
}
_OF_TABLE: dict[str, dict[str, object]] = {
    "documents": {
        "text": TEXT,
        "title": "Results",
        "url": "https://example.org/2020/05/04/results",
        "published_on": datetime.date(2020, 5, 4),
        "language": "en",
        "source": "starter.jsonl",
        "source_offset": 0,
    },
    "rejected_records": {
        "source": "starter.jsonl",
        "source_offset": 1,
        "reason": "not_json",
        "excerpt": "{oops",
    },
    "reading_losses": {"source": "starter.jsonl", "kind": "dates", "name": "", "count": 3},
    "text_marks": {
        "number": 0,
        "character_offset": 34,
        "expression": "400/1400",
        "result": "0.2857142857142857",
        "called_tool": None,
    },
    "document_selection": {"is_selected": True, "reason": "three_numbers"},
    "prompts": {"digest": "0f1e", "text": "Add calls.\nInput: {text}\nOutput:"},
    "candidate_calls": {
        "character_offset": 34,
        "call_probability": 0.25,
        "sample_index": 0,
        "arguments": "400 / 1400",
        "sample_text": "Calculator(400 / 1400)]",
        "status": "parsed",
    },
    "executed_calls": {
        "status": "executed",
        "result": "0.29",
        "duration_ms": 0.1,
        "from_cache": False,
        "peeks": False,
        "tool_version": "1",
    },
    "scored_calls": _SCORED,
    "filtered_calls": {
        **_SCORED,
        "loss_reduction": 1.5,
        "is_kept": True,
        "reason": "kept",
        "filtering_threshold": 1.0,
    },
    "augmented_texts": {"text": TEXT, "window_offset": 0, "calls": [CALL]},
    "training_texts": {"split": "train", "text": TEXT, "calls": [CALL]},
    "training_exclusions": {
        "document_id": "d2",
        "calls": 1,
        "reason": "near_duplicate",
        "other_document_id": "d1",
        "other_window_index": 0,
        "similarity": 0.9,
    },
    "stage_costs": {
        "stage": "sampling",
        "candidates": 10,
        "tokens_fed": 1000,
        "seconds": 2.5,
        "model": "SmolLM2-135M",
        "precision": "float32",
    },
    "training_metrics": {
        "run": "run-1",
        "step": 10,
        "loss": 2.5,
        "learning_rate": 1e-5,
        "tokens": 1000,
        "variant": "calls",
        "is_kept": False,
    },
    "evaluation_results": {
        "benchmark": "dateset",
        "item_id": "i1",
        "model": "base",
        "precision": "float32",
        "mode": "with-tools",
        "prompt": "What day is it?",
        "output": "Monday",
        "called_tool": "Calendar",
        "arguments": "",
        "result": "Today is Monday.",
        "is_result_right": True,
        "gold": "Monday",
        "score": 1.0,
        "score_weight": 1.0,
        "metric": "accuracy",
        "call_top_k": 10,
        "min_call_probability": 0.0,
        "min_call_probability_behind_prompt": 0.0,
    },
    "score_intervals": {
        "benchmark": "dateset",
        "model": "base",
        "mode": "enabled",
        "metric": "accuracy",
        "items": 10,
        "share_with_call": 0.5,
        "score": 0.3,
        "low": 0.1,
        "high": 0.6,
    },
    "paired_differences": {
        "benchmark": "dateset",
        "model": "base",
        "mode": "enabled",
        "other_model": "base",
        "other_mode": "disabled",
        "metric": "accuracy",
        "items": 10,
        "better": 3,
        "worse": 1,
        "difference": 0.2,
        "low": -0.1,
        "high": 0.5,
        "p_value": 0.6,
    },
}
_NAMES = {
    "prompts": "0f1e",
    "stage_costs": "Calculator.sampling",
    "training_metrics": "run-1",
    "evaluation_results": "dateset.base",
    "score_intervals": "dateset",
    "paired_differences": "dateset",
}


def _partition_of(schema: TableSchema) -> tuple[str, str]:
    """Shard and name of the partition that the one correct row belongs to."""
    name = "Calculator" if "tool" in schema.column_names else ALL
    return ALL if schema.is_cross_shard else SHARD, _NAMES.get(schema.name, name)


PARTITIONS = {table: _partition_of(schema) for table, schema in tables().items()}
CALL_TABLES = ("candidate_calls", "executed_calls", "scored_calls", "filtered_calls")


def frame(table: str, *changes: dict[str, Any]) -> pl.DataFrame:
    """A frame with one row per mapping of changes; one unchanged row without any."""
    schema = table_schema(table)
    common = {name: value for name, value in _COMMON.items() if name in schema.column_names}
    rows = [common | _OF_TABLE[table] | change for change in changes or ({},)]
    return pl.DataFrame(rows, schema=schema.polars_schema)


def put(
    warehouse: Warehouse,
    table: str,
    *changes: dict[str, Any],
    shard: str | None = None,
    name: str | None = None,
    **metadata: str,
) -> None:
    """Store such rows as a partition, by default the one that an unchanged row belongs to."""
    own_shard, own_name = PARTITIONS[table]
    of_shard = {} if shard is None else {"shard": shard}
    rows = frame(table, *(of_shard | change for change in changes or ({},)))
    warehouse.replace_partition(
        table, shard or own_shard, name or own_name, rows, metadata=metadata
    )


def put_calls(
    warehouse: Warehouse,
    *calls: dict[str, Any],
    tables: Collection[str] = CALL_TABLES,
    shard: str | None = None,
    name: str | None = None,
    **metadata: str,
) -> None:
    """Store calls in several tables; each has of a call what it has columns for."""
    for table in tables:
        columns = table_schema(table).column_names
        rows = [{key: call[key] for key in call if key in columns} for call in calls]
        put(warehouse, table, *rows, shard=shard, name=name, **metadata)


def put_labels(warehouse: Warehouse, *changes: dict[str, str]) -> None:
    """Append such judgements, one unchanged one without any."""
    labels = [LABEL | {"label_id": f"l{n}"} | change for n, change in enumerate(changes or ({},))]
    append_labels(warehouse.folder, labels)


def new_warehouse(folder: Path) -> Warehouse:
    """A prepared warehouse in a home."""
    made = Warehouse(folder / "warehouse", folder / "warehouse.duckdb")
    made.prepare()
    return made


def fill(warehouse: Warehouse) -> None:
    """Store one correct row of every table, and a judgement."""
    for table in PARTITIONS:
        put(warehouse, table)
    put_labels(warehouse)


def remove_partition(warehouse: Warehouse, table: str, shard: str, partition_name: str) -> None:
    """Lose a partition."""
    partitions = dict(read_catalogue(warehouse.folder, shard).partitions)
    del partitions[table, partition_name]
    content = Catalogue(shard, partitions).content().decode()
    write_atomically(Path(catalogue_file(warehouse.folder, shard)), content)


def save_manifest(sources: Path, *shards: str) -> list[ShardEntry]:
    """Register shards of a corpus, `SHARD` where none is named."""
    entries = [
        ShardEntry(shard, "texts", number, 1, f"digest {number}", is_held_out=False)
        for number, shard in enumerate(shards or (SHARD,))
    ]
    Manifest(shards=entries).save(sources)
    return entries


def wrong_counts(warehouse: Warehouse) -> list[str]:
    """The counts in catalogues that are not those of the rows."""

    def counted(sql: str) -> Counter[str]:
        # The last bits of a sum depend on the order of the rows.
        rows = warehouse.query(sql).with_columns(pl.selectors.float().round(6))
        return Counter(repr(row) for row in rows.iter_rows())

    texts = sql_texts("counts").items()
    return [name for name, text in texts if counted(f"from {name}") != counted(text)]
