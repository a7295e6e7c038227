"""Executing candidate calls with the tools (paper §2, "Executing API Calls")."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import polars as pl

from assets.outputs import DONE, Made
from assets.shard_report import ShardReport, ShardRows
from assets.shard_run import PartitionRun, ShardRun
from assets.shard_texts import documents_in, typed_frame
from assets.stage import PER_TOOL, TOOL_VERSION, Partition, ShardStage
from dagster_project.home import Home
from dagster_project.progress import ProgressCallback
from dagster_project.settings.sections import Settings
from dagster_project.wiring.toolbox import execution_limits, result_cache
from toolformer.calls import cut_result
from toolformer.forward.tokenization import Tokenizer
from toolformer.stage_cost import CostMeter
from tools.protocol import Document, Tool
from tools.running.deadlines import GIVEN_UP
from tools.running.execution import execute_calls
from tools.running.frozen_answers import FrozenAnswer
from tools.running.frozen_tool import FrozenTool
from tools.running.leak_check import LeakCheck

DONE_BUT_GIVEN_UP = (
    "done, but calls were given up: the tool had no answer to many in a row; the next build makes "
    "them again"
)


def texts_and_tokenizer(run: ShardRun, shard: str) -> tuple[Mapping[str, Document], Tokenizer]:
    """The texts of a shard by id, and what counts the tokens of results."""
    return documents_in(run.warehouse, shard), run.base_tokenizer


def execute_candidates(work: PartitionRun) -> Made:
    """What the tools answered; one row = one call's result or why there is none, by `call_id`."""
    texts, tokenizer = work.shared
    tool = work.partition.tool
    calls = work.read("candidate_calls").filter(pl.col("status") == "parsed")
    meter = CostMeter(checkpoint=work.checkpoint())
    answers = answered_calls(
        tool,
        [
            (arguments, texts[document_id], offset)
            for arguments, document_id, offset in calls.select(
                "arguments", "document_id", "character_offset"
            ).iter_rows()
        ],
        tokenizer,
        work.settings,
        work.run.home,
        progress=partial(_keep_and_show, meter, work.progress("executing calls")),
    )
    # Once: a version may read the files of an index or a model.
    common = {**work.keys, "tool_version": tool.version}
    rows = [
        {**answer, **common, "call_id": call_id}
        for call_id, answer in zip(calls["call_id"], answers, strict=True)
    ]
    given_up = sum(answer["reason"] == GIVEN_UP for answer in answers)
    # Out of date at once, so that the next build makes the calls; the stages behind notice.
    unfinished = work.wanted.fingerprint.with_part("given_up_calls", given_up)
    return Made(
        typed_frame("executed_calls", rows),
        unfinished.metadata() if given_up else {},
        DONE_BUT_GIVEN_UP if given_up else DONE,
        costs=[meter.cost("execution", candidates=calls.height)],
    )


def answered_calls(
    tool: Tool,
    calls: Sequence[tuple[str, Document, int]],
    tokenizer: Tokenizer,
    settings: Settings,
    home: Home,
    *,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Make calls of one tool; cut the results to their length, and drop those that are leaks.

    Args:
        tool: whose calls.
        calls: of each the arguments, its text, and the character of the text that it stands at.
        tokenizer: counts the tokens of results.
        settings: of the run.
        home: has the answers of earlier calls.
        progress: told calls made and calls in all.

    Returns:
        For each call what `executed_calls` says of its result, by column.

    Raises:
        MissingAnswerError: in a replay, the file lacks an answer.
        ToolDiedError, ToolUnavailableError, MissingDependencyError: see `execute_calls`.
    """
    if isinstance(tool, FrozenTool):
        # Cut and checked when they were given.
        return [_replayed(answer) for answer in tool.recorded(calls)]
    results = execute_calls(
        tool,
        [(arguments, document) for arguments, document, _ in calls],
        limits=execution_limits(settings),
        cache=result_cache(settings, home),
        progress=progress,
    )
    execution = settings.execution
    texts = {document.document_id: document.text for _, document, _ in calls}
    check_of = cache(lambda document_id: LeakCheck(texts[document_id]))
    answers = []
    for (_, document, offset), result in zip(calls, results, strict=True):
        answer = {"repeated_before": None, "repeated_after": None, **asdict(result)}
        if result.result is not None:
            cut = cut_result(tokenizer, result.result, max_tokens=execution.max_result_tokens)
            check = check_of(document.document_id)
            answer["result"] = cut
            answer.update(_leak_columns(check, cut, offset, execution.leak_share))
        answers.append(answer)
    return answers


def _replayed(answer: FrozenAnswer) -> dict[str, Any]:
    status = "failed" if answer.result is None else "executed"
    return {**asdict(answer), "status": status, "duration_ms": 0.0, "from_cache": True}


def _leak_columns(check: LeakCheck, result: str, offset: int, leak_share: float) -> dict[str, Any]:
    """How much of a result repeats its text, and what becomes of one that is a leak."""
    shares = check.shares(result, offset)
    if shares is None:
        return {}
    columns = {"repeated_before": shares.before, "repeated_after": shares.after}
    if shares.after < leak_share:
        return columns
    return {**columns, "status": "failed", "result": None, "reason": "leak"}


def _keep_and_show(meter: CostMeter, shown: ProgressCallback, done: int, total: int | None) -> None:
    meter.keep()
    shown(done, total)


def report_results(rows: ShardRows, report: ShardReport) -> None:
    """How many calls of a shard were executed, and why others have no result."""
    results = rows.of("executed_calls")
    executed = results.filter(pl.col("status") == "executed")
    report.count({"calls": results.height, "executed": executed.height})
    report.count({"from cache": results.filter("from_cache").height})
    report.count_reasons("failed", results.filter(pl.col("reason").is_not_null()))
    arguments = rows.of("candidate_calls").select("call_id", "arguments")
    answered = executed.join(arguments, on="call_id", maintain_order="left")
    report.preview_each_tool(answered.select("tool", "arguments", "result", "duration_ms"))


def has_model_on_device(partition: Partition) -> bool:
    """Whether the tool has a model: it waits for the device where no call's deadline runs."""
    return partition.tool_name in partition.toolbox.on_device


EXECUTED_CALLS = ShardStage(
    name="executed_calls",
    version="4",
    kinds=("python", "duckdb"),
    per=PER_TOOL,
    reads=("candidate_calls", "documents"),
    reads_indexes=("wikipedia_index", "passage_index"),
    parts=(TOOL_VERSION,),
    settings=(
        "execution.deadline_seconds",
        "execution.max_result_tokens",
        "execution.leak_share",
    ),
    share=texts_and_tokenizer,
    compute=execute_candidates,
    report=report_results,
    needs_device=has_model_on_device,
    are_tools_concurrent=True,
)
