"""Executes calls as configured: sampled calls with cache and leak check, and live calls."""

import datetime
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from toolformer.calls import cut_result
from toolformer.decoding.decoder import RunCalls
from toolformer.forward.tokenization import Tokenizer
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.base import Tool
from tools.protocol import Document
from tools.running.deadlines import Limits
from tools.running.execution import call_runner, execute_calls
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
    """Execute calls of one tool, cut long results, and drop results that leak the text.

    Each call is (arguments, document, character offset in its text). Returns, per call, the columns
    of `executed_calls` that describe the result. Raises like `execute_calls`.
    """
    execution = work.settings.execution
    results = execute_calls(
        tool,
        [(arguments, document) for arguments, document, _ in calls],
        limits=_limits(work.settings),
        cache=ResultCache(work.home.tool_results) if execution.uses_cache else None,
        progress=progress,
    )
    check_of = cache(LeakCheck)
    answers = []
    for (_, document, offset), result in zip(calls, results, strict=True):
        shares = text = None
        reason = result.reason
        if result.result is not None:
            text = cut_result(tokenizer, result.result, max_tokens=execution.max_result_tokens)
            shares = check_of(document.text).shares(text, offset)
            if not text:
                text, reason = None, "result_too_long"
            elif shares and shares[1] >= execution.leak_share:
                text, reason = None, "leak"
        before, after = shares or (None, None)
        answers.append(
            {
                "status": "failed" if text is None else "executed",
                "result": text,
                "reason": reason,
                "message": result.message,
                "duration_ms": result.seconds * 1000,
                "from_cache": result.from_cache,
                "repeated_before": before,
                "repeated_after": after,
            }
        )
    return answers


def live_calls(
    toolbox: Toolbox,
    settings: Settings,
    prompts: Sequence[str],
    dates: Sequence[datetime.date],
    *,
    on_outcome: Callable[[int, str, str | None], None] | None = None,
) -> RunCalls:
    """Return the `run_calls` argument of `complete`; `dates` has today's date per prompt.

    `on_outcome` (see `call_runner`) receives indices into `prompts`.
    """
    askers = [
        Document(document_id=f"prompt-{number}", text=prompt, published_on=date)
        for number, (prompt, date) in enumerate(zip(prompts, dates, strict=True))
    ]
    return call_runner(
        toolbox.tools,
        askers,
        limits=_limits(settings),
        on_outcome=on_outcome,
        failures=toolbox.failures,
    )


def _limits(settings: Settings) -> Limits:
    execution = settings.execution
    return Limits(deadline_seconds=execution.deadline_seconds, attempts=execution.attempts)
