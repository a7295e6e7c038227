"""Small correct frames for every table, to be changed one value at a time."""

import datetime
from collections import Counter
from pathlib import Path

import polars as pl

from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.counting import COUNTS, counts_text
from warehouse.layout import partition_folder
from warehouse.schema import table_schema
from warehouse.versions import versions
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

_SCORED: dict[str, object] = {
    "call_id": "c1",
    "shard": SHARD,
    "tool": "Calculator",
    "document_id": "d1",
    "window_index": 0,
    "position": 3,
    "proposed": "none",
    "tokens_used": 5,
    "loss_without_call": 3.0,
    "loss_call_without_result": 3.5,
    "loss_with_result": 1.5,
    "is_in_chance_sample": False,
    "lowest_threshold": 0.1,
    "baseline": "minimum",
    "precision": "float32",
    "round": 1,
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

_DEFAULTS: dict[str, dict[str, object]] = {
    "documents": {
        "document_id": "d1",
        "shard": SHARD,
        "text": TEXT,
        "title": "Results",
        "url": "https://example.org/2020/05/04/results",
        "published_on": datetime.date(2020, 5, 4),
        "language": "en",
        "source": "starter.jsonl",
        "source_offset": 0,
    },
    "rejected_records": {
        "shard": SHARD,
        "source": "starter.jsonl",
        "source_offset": 1,
        "reason": "not_json",
        "excerpt": "{oops",
    },
    "document_selection": {
        "shard": SHARD,
        "tool": "Calculator",
        "document_id": "d1",
        "is_selected": True,
        "reason": "three_numbers",
        "round": 1,
    },
    "prompts": {
        "digest": "0f1e",
        "text": "Add calls.\nInput: {text}\nOutput:",
    },
    "candidate_calls": {
        "call_id": "c1",
        "shard": SHARD,
        "tool": "Calculator",
        "document_id": "d1",
        "window_index": 0,
        "position": 3,
        "character_offset": 34,
        "call_probability": 0.25,
        "sample_index": 0,
        "arguments": "400 / 1400",
        "sample_text": "Calculator(400 / 1400)]",
        "status": "parsed",
        "reason": None,
        "proposed": "none",
        "round": 1,
    },
    "executed_calls": {
        "call_id": "c1",
        "shard": SHARD,
        "tool": "Calculator",
        "status": "executed",
        "reason": None,
        "result": "0.29",
        "duration_ms": 0.1,
        "from_cache": False,
        "tool_version": "1",
        "round": 1,
    },
    "scored_calls": _SCORED,
    "filtered_calls": {
        **_SCORED,
        "loss_reduction": 1.5,
        "is_kept": True,
        "reason": "kept",
        "filtering_threshold": 1.0,
    },
    "augmented_texts": {
        "document_id": "d1",
        "window_index": 0,
        "shard": SHARD,
        "text": TEXT,
        "window_offset": 0,
        "calls": [CALL],
        "round": 1,
    },
    "training_texts": {
        "document_id": "d1",
        "window_index": 0,
        "shard": SHARD,
        "split": "train",
        "text": TEXT,
        "calls": [CALL],
        "dropped_calls": [],
    },
    "training_exclusions": {
        "document_id": "d2",
        "window_index": 0,
        "shard": SHARD,
        "round": 1,
        "calls": 1,
        "reason": "near_duplicate",
        "held_out_set": None,
        "shared_ngram": None,
        "other_document_id": "d1",
        "other_window_index": 0,
        "similarity": 0.9,
    },
    "stage_costs": {
        "shard": SHARD,
        "tool": "Calculator",
        "stage": "sampling",
        "round": 1,
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
        "development_perplexity": None,
        "variant": "calls",
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
        "gold": "Monday",
        "score": 1.0,
        "score_weight": 1.0,
        "metric": "accuracy",
        "call_top_k": 10,
        "min_call_probability": 0.0,
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

PARTITIONS = {
    "documents": (SHARD, "all"),
    "rejected_records": (SHARD, "all"),
    "document_selection": (SHARD, "Calculator"),
    "prompts": ("all", "0f1e"),
    "candidate_calls": (SHARD, "Calculator"),
    "executed_calls": (SHARD, "Calculator"),
    "scored_calls": (SHARD, "Calculator"),
    "filtered_calls": (SHARD, "Calculator"),
    "augmented_texts": (SHARD, "all"),
    "training_texts": ("all", "all"),
    "training_exclusions": ("all", "all"),
    "stage_costs": (SHARD, "Calculator.sampling"),
    "training_metrics": ("all", "run-1"),
    "evaluation_results": ("all", "dateset.base"),
    "score_intervals": ("all", "dateset"),
    "paired_differences": ("all", "dateset"),
}


def row(table: str, **changes: object) -> dict[str, object]:
    """One correct row of a table with some values replaced."""
    return _DEFAULTS[table] | changes


def frame(table: str, *changes: dict[str, object]) -> pl.DataFrame:
    """A frame with one row per mapping of changes; one unchanged row without any."""
    rows = [row(table, **change) for change in changes or ({},)]
    return pl.DataFrame(rows, schema=table_schema(table).polars_schema)


def fill(warehouse: Warehouse) -> None:
    """Store one correct row of every table."""
    for table, (shard, name) in PARTITIONS.items():
        warehouse.replace_partition(table, shard, name, frame(table), metadata={})


def remove_partition(warehouse: Warehouse, table: str, shard: str, partition_name: str) -> None:
    """Lose a partition."""
    for path in versions(
        partition_folder(warehouse.folder, table, shard, partition_name), partition_name
    ):
        path.unlink()


def save_manifest(sources: Path) -> None:
    """Register `SHARD` as the one shard of a corpus."""
    entry = ShardEntry(SHARD, "texts", 0, 1, "digest", is_held_out=False)
    Manifest(shards=[entry]).save(sources)


def wrong_counts(warehouse: Warehouse) -> list[str]:
    """The counts in footers that are not those of the rows."""

    def counted(sql: str) -> Counter[str]:
        # The last bits of a sum depend on the order of the rows.
        rows = warehouse.query(sql).with_columns(pl.selectors.float().round(6))
        return Counter(repr(row) for row in rows.iter_rows())

    return [name for name in COUNTS if counted(f"from {name}") != counted(counts_text(name))]
