"""Executing candidate calls with the tools (paper §2, "Executing API Calls")."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any, TypeVar

import dagster as dg
import polars as pl

from assets.inputs import Wanted
from assets.outputs import Made
from assets.shard_asset import shard_asset
from assets.shard_stage import NOT_SAMPLED, ShardReport, ShardStage, expected_errors
from assets.shard_texts import documents_of, typed_frame
from assets.stage_costs import store_cost
from dagster_project.fingerprints import executed_calls_fingerprint
from dagster_project.home import Home
from dagster_project.progress import ProgressCallback
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.model_holder import base_model_directory
from dagster_project.wiring.toolbox import execution_limits, result_cache
from toolformer.calls import cut_result
from toolformer.forward.tokenization import Tokenizer, load_tokenizer
from toolformer.stage_cost import CostMeter
from tools.errors import ToolDiedError
from tools.protocol import Document, Tool
from tools.running.deadlines import GIVEN_UP, WHOLE_TOOL_ERRORS
from tools.running.execution import execute_calls
from tools.running.frozen_answers import FrozenAnswer
from tools.running.frozen_tool import FrozenTool
from tools.running.leak_check import LeakCheck
from warehouse.schema import ALL

_T = TypeVar("_T")

DONE_BUT_GIVEN_UP = (
    "done, but calls were given up: the tool had no answer to many in a row; the next build makes "
    "them again"
)


@shard_asset(
    kinds={"python", "duckdb"}, deps=["candidate_calls", "wikipedia_index", "passage_index"]
)
def executed_calls(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """What the tools answered; one row = one call's result or why there is none, by `call_id`."""
    stage = ShardStage.open(context, "executed_calls", settings, warehouse)
    with expected_errors():
        tools = toolbox.open(stage.settings, stage.home)

    hold_device = partial(language_model.holder().hold_device, stage.settings, stage.home)

    @cache
    def base_tokenizer() -> Tokenizer:
        return load_tokenizer(base_model_directory(stage.settings, stage.home))

    def make_shard(key: str, report: ShardReport) -> None:
        report.slices.update(tools.unavailable)
        # Before the threads: those that import transformers together fail on its lazy modules.
        tokenizer = base_tokenizer()

        def wanted(name: str, tool: Tool) -> Wanted:
            candidates = stage.input("candidate_calls", key, stage.slice_name(name))
            documents = stage.input("documents", key, ALL)
            fingerprint = executed_calls_fingerprint(candidates.fingerprint, stage.settings, tool)
            return Wanted(fingerprint, (candidates, documents))

        def make_slice(name: str, tool: Tool) -> str:
            if not stage.has_input("candidate_calls", key, stage.slice_name(name)):
                return NOT_SAMPLED
            return stage.replace_if_stale(
                key,
                stage.slice_name(name),
                partial(wanted, name, tool),
                partial(_execute, stage, key, name, tool, tokenizer),
                # Its model waits for the device here, where no call's deadline runs.
                hold_device=hold_device if name in tools.on_device else None,
            )

        died: list[str] = []
        for name, made in done_together(
            {name: partial(make_slice, name, tool) for name, tool in tools.tools.items()}
        ).items():
            if isinstance(made, WHOLE_TOOL_ERRORS):
                # The slices of the other tools are made all the same.
                died.append(f"{name}: {made}")
            elif isinstance(made, Exception):
                raise made
            else:
                report.slices[name] = made
        if died:
            raise ToolDiedError(" ".join(died))
        _report_results(stage, key, report)

    return stage.run(make_shard)


def done_together(work: Mapping[str, Callable[[], _T]]) -> dict[str, _T | Exception]:
    """Do pieces of work at the same time, and wait for all of them.

    In daemon threads, unlike those of an executor: an interrupt ends the process at once, and what
    is unfinished then was not published.

    Args:
        work: By name.

    Returns:
        What each gave, or raised, in the same order.
    """
    outcomes: dict[str, Any] = dict.fromkeys(work)

    def do(name: str) -> None:
        try:
            outcomes[name] = work[name]()
        except Exception as error:  # noqa: BLE001
            # The waiting thread raises it again.
            outcomes[name] = error

    threads = [threading.Thread(target=do, args=(name,), name=name, daemon=True) for name in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _execute(
    stage: ShardStage,
    shard: str,
    tool_name: str,
    tool: Tool,
    tokenizer: Tokenizer,
    wanted: Wanted,
) -> Made:
    """The results of one tool's calls."""
    texts = documents_of(stage, shard)
    candidates = stage.warehouse.read_slice("candidate_calls", shard, stage.slice_name(tool_name))
    calls = candidates.filter(pl.col("status") == "parsed")
    meter = CostMeter(
        checkpoint=stage.checkpoint(shard, stage.slice_name(tool_name), wanted.fingerprint.digest)
    )
    shown = stage.progress("executing calls", detail=f"{shard}, {tool_name}")

    def progress(done: int, total: int | None) -> None:
        meter.keep()
        shown(done, total)

    answers = answered_calls(
        tool,
        [
            (arguments, texts[document_id], offset)
            for arguments, document_id, offset in calls.select(
                "arguments", "document_id", "character_offset"
            ).iter_rows()
        ],
        tokenizer,
        stage.settings,
        stage.home,
        progress=progress,
    )
    store_cost(stage, shard, tool_name, meter.cost("execution", candidates=calls.height))
    # Once: a version may read the files of an index or a model.
    version = tool.version
    rows = [
        {
            **answer,
            "call_id": call_id,
            "shard": shard,
            "tool": tool_name,
            "tool_version": version,
            "round": stage.settings.sampling.round,
        }
        for call_id, answer in zip(calls["call_id"], answers, strict=True)
    ]
    frame = typed_frame("executed_calls", rows)
    given_up = sum(answer["reason"] == GIVEN_UP for answer in answers)
    if given_up:
        # Out of date at once, so that the next build makes the calls; the stages behind notice.
        unfinished = wanted.fingerprint.with_part("given_up_calls", given_up)
        return Made(frame, unfinished.metadata(), DONE_BUT_GIVEN_UP)
    return Made(frame)


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


def _report_results(stage: ShardStage, shard: str, report: ShardReport) -> None:
    results = stage.rows_of("executed_calls", shard)
    executed = results.filter(pl.col("status") == "executed")
    report.count({"calls": results.height, "executed": executed.height})
    report.count({"from cache": results.filter("from_cache").height})
    report.count_reasons("failed", results.filter(pl.col("reason").is_not_null()))
    arguments = stage.rows_of("candidate_calls", shard).select("call_id", "arguments")
    answered = executed.join(arguments, on="call_id", maintain_order="left")
    report.preview_each_tool(answered.select("tool", "arguments", "result", "duration_ms"))
