"""Kept calls of all tools merged into the texts: C* (paper §2)."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from assets.inputs import Wanted, merged_inputs
from assets.outputs import Made
from assets.shard_asset import shard_asset
from assets.shard_stage import ShardReport, ShardStage, expected_errors
from assets.shard_texts import contexts_in, documents_of, typed_frame, windows_of
from dagster_project.fingerprints import augmented_texts_fingerprint
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.wiring.model_holder import base_model_directory
from toolformer.augmentation import KeptCall, check_restores, one_call_per_position
from toolformer.forward.tokenization import load_tokenizer
from toolformer.training.augmented_text import TextKey
from warehouse.schema import ALL


@shard_asset(kinds={"polars", "duckdb"}, deps=["filtered_calls", "documents"])
def augmented_texts(
    context: dg.AssetExecutionContext, settings: SettingsResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """The augmented corpus C*; one row = one window with its calls, by `document_id` and `window`.

    Only calls of the same round of annotation are merged, and at most one per position stays. Calls
    are offsets beside the text; that taking them out gives the text back is checked for every row.
    A tool whose slices do not belong together, since its calls are being made again, is left out.
    """
    stage = ShardStage.open(context, "augmented_texts", settings, warehouse)
    with expected_errors():
        model_directory = base_model_directory(stage.settings, stage.home)

    def make_shard(key: str, report: ShardReport) -> None:
        # What is there, and not what the settings name: the calls of a tool that is no longer
        # registered are still rows of the shard.
        look = partial(
            merged_inputs,
            stage.warehouse,
            key,
            round_number=stage.settings.sampling.round,
            window_tokens=stage.settings.corpus.window_tokens,
        )

        def wanted() -> Wanted:
            merged, _ = look()
            decided = {name: slices[0].fingerprint for name, slices in merged.items()}
            inputs = {each.name: each for slices in merged.values() for each in slices}
            return Wanted(augmented_texts_fingerprint(decided), tuple(inputs.values()))

        report.slices["all tools"] = stage.replace_if_stale(
            key,
            stage.slice_name(ALL),
            wanted,
            lambda _: _augment(stage, key, list(look()[0]), model_directory),
        )
        merged, left_out = look()
        report.slices.update({f"calls of {name}": "merged" for name in merged})
        report.slices.update(
            {f"calls of {name}": f"left out: {why}" for name, why in left_out.items()}
        )
        rows = stage.warehouse.read_slice("augmented_texts", key, stage.slice_name(ALL))
        report.count({"texts with calls": rows.height})
        report.count({"calls": int(rows["calls"].list.len().sum())})
        report.preview = rows.select(
            pl.col("text"),
            pl.col("calls").list.len().alias("calls"),
            pl.col("calls").list.first().struct.field("tool").alias("first tool"),
            pl.col("calls").list.first().struct.field("arguments").alias("arguments"),
        )

    return stage.run(make_shard)


def _augment(stage: ShardStage, shard: str, tools: list[str], model_directory: Path) -> Made:
    kept = (
        stage.rows_of("filtered_calls", shard)
        .filter("is_kept", pl.col("tool").is_in(tools))
        .select("call_id", "loss_reduction")
        .join(
            stage.rows_of("candidate_calls", shard),
            on="call_id",
            how="inner",
            maintain_order="left",
        )
        .join(
            stage.rows_of("executed_calls", shard).select("call_id", "result"),
            on="call_id",
            how="inner",
            maintain_order="left",
        )
        # The order of sampling breaks ties between calls, whatever order the slices are read in.
        .sort("document_id", "window", "position", "tool", "sample_index")
    )
    if kept.is_empty():
        return Made(typed_frame("augmented_texts", []))
    tokenizer = load_tokenizer(model_directory)
    windows = {
        TextKey(window.document_id, window.index): window
        for window in windows_of(
            documents_of(stage, shard),
            tokenizer,
            window_tokens=stage.settings.corpus.window_tokens,
        )
    }
    contexts = contexts_in(stage.warehouse, shard)
    calls: dict[TextKey, list[KeptCall]] = {}
    for row in kept.iter_rows(named=True):
        key = TextKey(row["document_id"], row["window"])
        calls.setdefault(key, []).append(
            KeptCall(
                call_id=row["call_id"],
                position=row["position"],
                character_offset=row["character_offset"] - windows[key].start,
                tool=row["tool"],
                arguments=row["arguments"],
                result=row["result"],
                loss_reduction=row["loss_reduction"],
            )
        )
    rows = []
    for key, window in windows.items():
        merged = one_call_per_position(calls.get(key, []))
        if not merged:
            continue
        check_restores(window, merged)
        rows.append(
            {
                "document_id": window.document_id,
                "window": window.index,
                "shard": shard,
                "text": window.text,
                "window_offset": window.start,
                "calls": [asdict(call) for call in merged],
                "round": stage.settings.sampling.round,
                "context": contexts.get(key),
            }
        )
    return Made(typed_frame("augmented_texts", rows))
