"""Executing candidate calls with the tools (paper §2, "Executing API Calls")."""

from collections.abc import Mapping
from functools import partial

import polars as pl

from assets.dataset.shard_run import PartitionRun, ShardRun
from assets.outputs import DONE, Made
from assets.shard_report import ShardReport, ShardRows
from assets.shard_texts import documents_in, typed_frame
from assets.stage import PER_TOOL, TOOL_VERSION, Partition, ShardStage
from dagster_project.progress import ProgressCallback
from dagster_project.wiring.execution import answered_calls
from toolformer.forward.tokenization import Tokenizer
from toolformer.stage_cost import CostMeter
from tools.protocol import Document
from tools.running.deadlines import GIVEN_UP

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


def _keep_and_show(meter: CostMeter, shown: ProgressCallback, done: int, total: int | None) -> None:
    meter.keep()
    shown(done, total)


def report_results(rows: ShardRows, report: ShardReport) -> None:
    """How many calls of a shard were executed, and why others have no result."""
    results = rows.of("executed_calls")
    executed = results.filter(pl.col("status") == "executed")
    failed = results.height - executed.height
    report.count_flow({"calls in": results.height, "executed": executed.height, "failed": failed})
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
    version="5",
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
