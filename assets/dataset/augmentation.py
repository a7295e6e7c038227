"""Merges the kept calls of all tools into the texts, which gives C* (paper §2)."""

from dataclasses import asdict, replace

import polars as pl

from assets.dataset.shard_run import PartitionRun
from assets.outputs import OutputRows
from assets.shard_report import ShardReport, ShardRows
from assets.shard_texts import first_calls_in, texts_in, typed_frame, windows_of
from assets.stage import PER_SHARD, ShardStage
from toolformer.augmentation import KeptCall, check_round_trip, one_call_per_position
from toolformer.forward.windows import WindowKey


def augment_texts(work: PartitionRun) -> OutputRows:
    """Augmented corpus C*; one row = one window with its calls, by `document_id` and `window`.

    Only calls of the same round are merged, at most one per position. Calls are stored as offsets
    next to the text. For every row we check that removing the calls restores the text. A tool is
    left out while its calls are made again, because its partitions do not belong together then.
    """
    warehouse, shard = work.run.warehouse, work.partition.shard
    kept = (
        work.read("filtered_calls")
        .filter("is_kept")
        .select("call_id", "loss_reduction")
        .join(work.read("candidate_calls"), on="call_id")
        .join(work.read("executed_calls").select("call_id", "result"), on="call_id")
        # Ties between calls are broken by the order of sampling, not by the order of reading.
        .sort("document_id", "window_index", "position", "tool", "sample_index")
    )
    if kept.is_empty():
        return OutputRows(typed_frame("augmented_texts", []))
    with_calls, window_tokens = set(kept["document_id"]), work.settings.corpus.window_tokens
    documents, contexts = texts_in(warehouse, shard)
    texts = {key: text for key, text in documents.items() if key in with_calls}
    cut = windows_of(texts, work.run.base_tokenizer, window_tokens=window_tokens)
    windows = {window.key: window for window in cut}
    # In a chained round, each text also keeps its call from the previous round, after which the
    # other calls were sampled.
    first_calls = first_calls_in(warehouse, shard, work.settings)
    calls: dict[WindowKey, list[KeptCall]] = {}
    for row in kept.iter_rows(named=True):
        key = row["document_id"], row["window_index"]
        call = KeptCall(**{name: row[name] for name in KeptCall.__slots__})
        offset = call.character_offset - windows[key].start
        calls.setdefault(key, []).append(replace(call, character_offset=offset))
    rows = []
    for key, window in windows.items():
        if key not in calls:
            continue
        first = first_calls.get(key)
        merged = one_call_per_position([*([first] if first else []), *calls[key]])
        check_round_trip(window, merged)
        rows.append(
            {
                "document_id": window.document_id,
                "window_index": window.index,
                "shard": shard,
                "text": window.text,
                "window_offset": window.start,
                "calls": [asdict(call) for call in merged],
                "round": work.settings.sampling.round,
                "first_call_id": first and first.call_id,
                "context": contexts.get(key),
            }
        )
    return OutputRows(typed_frame("augmented_texts", rows))


def report_texts(rows: ShardRows, report: ShardReport) -> None:
    texts = rows.of("augmented_texts")
    report.count_flow(
        {
            "kept calls in": int(rows.of("filtered_calls")["is_kept"].sum()),
            "texts with calls": texts.height,
            "calls in texts": int(texts["calls"].list.len().sum()),
        }
    )
    report.preview = texts.select(
        pl.col("text"),
        pl.col("calls").list.len().alias("calls"),
        pl.col("calls").list.first().struct.field("tool").alias("first tool"),
        pl.col("calls").list.first().struct.field("arguments").alias("arguments"),
    )


AUGMENTED_TEXTS = ShardStage(
    name="augmented_texts",
    version="3",
    kinds=("polars", "duckdb"),
    per=PER_SHARD,
    reads=("filtered_calls", "executed_calls", "candidate_calls", "documents"),
    reads_previous_round=("augmented_texts",),
    compute=augment_texts,
    compute_batch=lambda works: list(map(augment_texts, works)),
    report=report_texts,
)
