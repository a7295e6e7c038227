"""Computes the losses of executed calls; thresholds decide on them later (paper §2)."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import polars as pl

from assets.dataset.shard_run import PartitionRun, ShardRun
from assets.outputs import OutputRows
from assets.shard_report import ShardReport, ShardRows, state_of
from assets.shard_texts import documents_in, first_calls_in, typed_frame, windows_of
from assets.stage import ANNOTATOR, PER_TOOL, PRECISION, ShardStage, always
from toolformer.chained_calls import FirstCalls
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from toolformer.home.progress import ProgressCallback
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.shard_scoring import CallScore, ShardScoring
from tools.protocol import ToolCall

# Stored with the losses too, so that statistics need no join.
_OF_CANDIDATE = ("call_id", "document_id", "window_index", "position", "proposed")


def shard_scoring(run: ShardRun, shard: str) -> ShardScoring:
    """Return a scorer for all tools of a shard, so that the model reads each text only once."""
    documents = documents_in(run.warehouse, shard)
    first_calls = first_calls_in(run.warehouse, shard, run.settings)

    def cut_windows(tokenizer: Tokenizer) -> Iterator[Window]:
        window_tokens = run.settings.corpus.window_tokens
        windows = windows_of(documents, tokenizer, window_tokens=window_tokens)
        return FirstCalls(first_calls, tokenizer).insert(windows)

    return ShardScoring(
        load=partial(run.load_annotator, is_scoring=True),
        cut_windows=cut_windows,
        scoring=run.settings.scoring,
        seed=run.settings.sampling.seed,
        progress=partial(_progress, run, shard),
    )


def score_calls(work: PartitionRun) -> OutputRows:
    """Losses of the executed calls; one row = one call with all its losses, by `call_id`.

    The model that sampled a call computes the loss of the text without the call, with the call but
    without its result, and with the result; for contrasts and the chance level, also with the
    result of another call. Losses do not depend on thresholds, except that further losses are left
    out below `scoring.lowest_threshold`.
    """
    candidates = work.read("candidate_calls")
    first_calls = FirstCalls(
        first_calls_in(work.run.warehouse, work.partition.shard, work.settings),
        work.run.base_tokenizer,
    )
    calls = [
        replace(call, position=first_calls.position_for_model(call.window, call.position))
        for call in calls_to_score(
            work.read("executed_calls"), candidates, work.partition.tool_name
        )
    ]
    scoring: ShardScoring = work.shared
    # Each pass has a folder inside the output's folder, so that all passes are removed together.
    scored = scoring.score(
        work.partition.tool_name, calls, lambda name, state: work.checkpoint(state, within=name)
    )
    scoring_settings = work.settings.scoring
    thresholds = {
        "lowest_threshold": scoring_settings.lowest_threshold,
        "baseline": scoring_settings.baseline,
    }
    rows = [
        {**row, **_columns(scored.scores[row["call_id"]]), **work.keys, **thresholds}
        for row in candidates.select(_OF_CANDIDATE).iter_rows(named=True)
        if row["call_id"] in scored.scores
    ]
    frame = typed_frame("scored_calls", rows)
    return OutputRows(frame, scored.geometry, state_of(scored.geometry), costs=scored.costs)


def report_losses(rows: ShardRows, report: ShardReport) -> None:
    scored = rows.of("scored_calls")
    report.count_flow(
        {
            "calls in": scored.height,
            "scored in float32": scored.filter(pl.col("precision") == "float32").height,
            "in the chance sample": scored.filter("is_in_chance_sample").height,
        }
    )
    report.preview_each_tool(
        scored.select("tool", "loss_without_call", "loss_call_without_result", "loss_with_result")
    )


def calls_to_score(
    executed: pl.DataFrame, candidates: pl.DataFrame, tool_name: str
) -> list[ScoredCall]:
    # The left join keeps the order of the results, which in every run is the candidates' order.
    calls = executed.filter(pl.col("status") == "executed").join(
        candidates.select("call_id", "document_id", "window_index", "position", "arguments"),
        on="call_id",
        how="left",
        maintain_order="left",
    )
    return [
        ScoredCall(
            call_id=row["call_id"],
            window=(row["document_id"], row["window_index"]),
            position=row["position"],
            call=ToolCall(tool_name, row["arguments"]),
            result=row["result"],
        )
        for row in calls.iter_rows(named=True)
    ]


def _columns(score: CallScore) -> Mapping[str, Any]:
    columns = asdict(score)
    return {**columns.pop("losses"), **columns}


def _progress(run: ShardRun, shard: str, scored: str, tool_name: str) -> ProgressCallback:
    return run.progress("scoring calls", shard, tool_name, scored.replace("_", " "))


SCORED_CALLS = ShardStage(
    name="scored_calls",
    version="5",
    kinds=("pytorch", "duckdb"),
    per=PER_TOOL,
    reads=("executed_calls", "candidate_calls", "documents"),
    reads_previous_round=("augmented_texts",),
    parts=(ANNOTATOR, PRECISION),
    settings=(
        "corpus.window_tokens",
        "sampling.seed",
        "scoring.empty_result_keeps_arrow",
        "scoring.placement",
        "scoring.baseline",
        "scoring.window_tokens",
        "scoring.window_weights",
        "scoring.lowest_threshold",
        "scoring.token_budget",
        "scoring.chance_calls",
    ),
    passes=("scoring", "swapped_results"),
    tokens_fed=(0, 60),
    prepare_shard=shard_scoring,
    compute=score_calls,
    report=report_losses,
    needs_device=always,
)
