"""Executes candidate calls with the tools (paper §2, "Executing API Calls")."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import compress
from typing import Any

import polars as pl

from assets.dataset.shard_run import PartitionRun, ShardRun
from assets.outputs import DONE, OutputRows
from assets.shard_report import ShardReport, ShardRows
from assets.shard_texts import first_calls_in, texts_in, typed_frame
from assets.stage import PER_TOOL, TOOL_VERSION, ShardStage
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import WindowKey
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.execution import answered_calls
from toolformer.home.wiring.workspace import Workspace
from toolformer.samples import PROPOSED_CALL
from toolformer.stage_cost import CostMeter
from tools.base import Tool
from tools.errors import tool_changed_error
from tools.peeking import TextWords
from tools.protocol import Document
from tools.running.deadlines import GIVEN_UP

# Reason code of calls that are not made; see `answered_samples`.
PEEKS = "peeks"
DONE_BUT_GIVEN_UP = (
    "done, but calls were given up after the tool failed many times in a row; the next build makes "
    "them again"
)

_DONE_BUT_LOST = (
    "done, but {} calls had no answer: a service of the tool was unreachable, or the call took "
    "longer than execution.deadline_seconds; `toolformer build --force` with --tools and "
    "--shards makes them again"
)


def texts_and_tokenizer(
    run: ShardRun, shard: str
) -> tuple[Mapping[str, Document], Mapping[WindowKey, str], Tokenizer]:
    """Return texts by id, the context before each, and the tokenizer that measures results."""
    documents, known = texts_in(run.warehouse, shard)
    # In a chained round the result of the first call comes before all other calls.
    for (document_id, _), call in first_calls_in(run.warehouse, shard, run.settings).items():
        key = document_id, 0
        known[key] = f"{known.get(key, '')} {call.result}"
    return documents, known, run.base_tokenizer


def execute_candidates(work: PartitionRun) -> OutputRows:
    """Answers of the tools; one row = one call with its result or why it has none, by `call_id`.

    A call peeks if its arguments use text that follows it. Such a call is not made, unless
    `execution.allows_peeking` is set.
    """
    texts, known, tokenizer = work.shared
    tool = work.partition.tool
    calls = work.read("candidate_calls").filter(pl.col("status") == "parsed")
    meter, shown = CostMeter(checkpoint=work.checkpoint()), work.progress("executing calls")

    def keep_and_show(done: int, total: int | None) -> None:
        meter.keep()
        shown(done, total)

    answers = answered_samples(
        tool,
        [
            (arguments, texts[document_id], offset)
            for arguments, document_id, offset in calls.select(
                "arguments", "document_id", "character_offset"
            ).iter_rows()
        ],
        # A model without a prompt reads a text only up to its own call, so it cannot peek.
        [
            work.partition.prompt is not None or proposed == PROPOSED_CALL
            for proposed in calls["proposed"]
        ],
        known,
        tokenizer,
        work.run,
        progress=keep_and_show,
    )
    # Read the version only once: it may hash the files of an index or a model.
    version, expected = tool.version, json.loads(work.expected.fingerprint.parts[TOOL_VERSION.name])
    if version != expected:
        raise tool_changed_error(tool.name, expected, version)
    common = {**work.keys, "tool_version": version}
    rows = [
        {**answer, **common, "call_id": call_id}
        for call_id, answer in zip(calls["call_id"], answers, strict=True)
    ]
    given_up = sum(answer["reason"] == GIVEN_UP for answer in answers)
    lost = sum(answer["reason"] in ("timeout", "transient_error") for answer in answers)
    # Mark the output as stale at once, so that the next build repeats these calls and the later
    # stages.
    unfinished = work.expected.fingerprint.with_parts({"given_up_calls": given_up})
    return OutputRows(
        typed_frame("executed_calls", rows),
        state=DONE_BUT_GIVEN_UP if given_up else _DONE_BUT_LOST.format(lost) if lost else DONE,
        costs=[meter.cost("execution", candidates=calls.height)],
        actual_fingerprint=unfinished if given_up else None,
    )


def report_results(rows: ShardRows, report: ShardReport) -> None:
    results = rows.of("executed_calls")
    executed = results.filter(pl.col("status") == "executed")
    failed = results.height - executed.height
    report.count_flow({"calls in": results.height, "executed": executed.height, "failed": failed})
    report.count({"from cache": results.filter("from_cache").height})
    report.count_reasons("failed", results.filter(pl.col("reason").is_not_null()))
    arguments = rows.of("candidate_calls").select("call_id", "arguments")
    answered = executed.join(arguments, on="call_id", maintain_order="left")
    report.preview_each_tool(answered.select("tool", "arguments", "result", "duration_ms"))


def answered_samples(
    tool: Tool,
    calls: Sequence[tuple[str, Document, int]],
    could_peek: Sequence[bool],
    known: Mapping[WindowKey, str],
    tokenizer: Tokenizer,
    work: Workspace,
    *,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Make calls like `answered_calls`, except those that peek, and add the column `peeks`.

    A call peeks if its arguments hold a number or a name that the text has only after the call.

    Args:
        could_peek: per call, whether the model or tool that wrote it saw the text after the call.
        known: context that precedes a text in addition to its title, by the text's first window.
    """
    peeked = _peeked(tool, calls, could_peek, known)
    is_made = [not words or work.settings.execution.allows_peeking for words in peeked]
    answers = iter(
        answered_calls(tool, list(compress(calls, is_made)), tokenizer, work, progress=progress)
    )
    return [
        {
            **(
                next(answers)
                if made
                else {
                    "status": "failed",
                    "result": None,
                    "reason": PEEKS,
                    "message": f"Only appears after the call: {', '.join(words)}.",
                    "duration_ms": 0.0,
                    "from_cache": False,
                }
            ),
            "peeks": bool(words),
        }
        for made, words in zip(is_made, peeked, strict=True)
    ]


def _peeked(
    tool: Tool,
    calls: Sequence[tuple[str, Document, int]],
    could_peek: Sequence[bool],
    known: Mapping[WindowKey, str],
) -> list[list[str]]:
    """Return the words that peek per call; the cache of words is freed before calls are made."""
    words_of = cache(
        lambda document: TextWords(
            document.text, document.title, known.get((document.document_id, 0))
        )
    )
    return [
        words_of(document).only_after(arguments, offset)
        if was_shown and tool.arguments_come_from_text
        else []
        for (arguments, document, offset), was_shown in zip(calls, could_peek, strict=True)
    ]


EXECUTED_CALLS = ShardStage(
    name="executed_calls",
    version="6",
    kinds=("python", "duckdb"),
    per=PER_TOOL,
    reads=("candidate_calls", "documents"),
    reads_previous_round=("augmented_texts",),
    reads_indexes=("wikipedia_index", "passage_index"),
    parts=(TOOL_VERSION,),
    settings=(
        "execution.deadline_seconds",
        "execution.max_result_tokens",
        "execution.leak_share",
        "execution.allows_peeking",
    ),
    passes=("execution",),
    prepare_shard=texts_and_tokenizer,
    compute=execute_candidates,
    report=report_results,
    # Wait for the device here, so that the wait does not count against the deadline of a call.
    needs_device=lambda partition: partition.tool_name in partition.toolbox.on_device,
    are_tools_concurrent=True,
)
