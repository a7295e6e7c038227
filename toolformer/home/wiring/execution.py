"""How calls are made, as the settings say: with deadline and cache, cut, and without leaks."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from toolformer.calls import cut_result
from toolformer.forward.tokenization import Tokenizer
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.toolbox import execution_limits
from toolformer.home.wiring.workspace import Workspace
from tools.base import Tool
from tools.protocol import Document
from tools.running.execution import execute_calls
from tools.running.result_cache import ResultCache
from tools.text_overlap import LeakCheck


def answered_calls(
    tool: Tool,
    calls: Sequence[tuple[str, Document, int]],
    tokenizer: Tokenizer,
    work: Workspace,
    *,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Make calls of one tool; cut the results to their length, and drop those that are leaks.

    Args:
        calls: of each the arguments, its text, and the character of the text that it stands at.

    Returns:
        For each call what `executed_calls` says of its result, by column.

    Raises:
        ToolDiedError, ToolUnavailableError: see `execute_calls`.
    """
    execution = work.settings.execution
    results = execute_calls(
        tool,
        [(arguments, document) for arguments, document, _ in calls],
        limits=execution_limits(work.settings),
        cache=ResultCache(work.home.tool_results) if execution.uses_cache else None,
        progress=progress,
    )
    texts = {document.document_id: document.text for _, document, _ in calls}
    check_of = cache(lambda document_id: LeakCheck(texts[document_id]))
    answers = []
    for (_, document, offset), result in zip(calls, results, strict=True):
        answer = {
            "status": "failed" if result.result is None else "executed",
            "result": result.result,
            "reason": result.reason,
            "message": result.message,
            "duration_ms": result.seconds * 1000,
            "from_cache": result.from_cache,
            "repeated_before": None,
            "repeated_after": None,
        }
        if result.result is not None:
            cut = cut_result(tokenizer, result.result, max_tokens=execution.max_result_tokens)
            check = check_of(document.document_id)
            answer["result"] = cut
            answer.update(_leak_columns(check, cut, offset, execution.leak_share))
            if not cut:
                answer.update(status="failed", result=None, reason="result_too_long")
        answers.append(answer)
    return answers


def _leak_columns(check: LeakCheck, result: str, offset: int, leak_share: float) -> dict[str, Any]:
    """How much of a result repeats its text, and what becomes of one that is a leak."""
    shares = check.shares(result, offset)
    if shares is None:
        return {}
    before, after = shares
    columns = {"repeated_before": before, "repeated_after": after}
    if after < leak_share:
        return columns
    return {**columns, "status": "failed", "result": None, "reason": "leak"}
