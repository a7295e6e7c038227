"""Executing the calls of one tool (paper, section 2); no failing call ends a run."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tools.base import Tool
from tools.errors import tool_changed_error
from tools.protocol import NO_ANSWER, Document, ToolCall, ToolResult
from tools.running.deadlines import WHOLE_TOOL_ERRORS, Calls, Limits
from tools.running.result_cache import ResultCache, outcome_key
from tools.syntax import clean_result

_LOGGER = logging.getLogger(__name__)

# Why a call has no result that it may have the next time.
TRANSIENT_REASONS = frozenset({"timeout", "transient_error"})

_Request = tuple[str, Document]


def execute_calls(
    tool: Tool,
    requests: Sequence[_Request],
    *,
    limits: Limits,
    cache: ResultCache | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    failures: Counter[str] | None = None,
) -> list[ToolResult]:
    """Run calls of one tool, in batches where it has a `call_batch` of its own.

    Args:
        cache: Holds outcomes of earlier calls and gets the new ones; with one, calls that are equal
            are made once. None to make every call.
        progress: Told at first and after each batch how many calls of how many are made, those of
            the cache left out.
        failures: See `tools.running.deadlines.Calls`; for tools that are asked time and again.

    Returns:
        One result per request, in order. The reason of a failed one is `empty_result`, or one of
        `Calls.make` in `tools.running.deadlines`.

    Raises:
        ToolDiedError: When the tool says that it stopped working.
        ToolUnavailableError: When the tool finds that it cannot run at all.

    Example:
        >>> from tools.calculator import Calculator
        >>> requests = [("6 * 7", Document("a", "")), ("1 / 0", Document("b", ""))]
        >>> results = execute_calls(Calculator(), requests, limits=Limits(deadline_seconds=10))
        >>> [(result.result, result.reason) for result in results]
        [('42', None), (None, 'division_by_zero')]
    """
    calls = Calls(tool, limits=limits, failures=failures)
    dependencies = _cache_keys(tool, [document for _, document in requests]) if cache else None
    if cache is None or dependencies is None:
        cache, version = None, ""
        keys = [str(number) for number in range(len(requests))]
    else:
        # Once: it may read files, and a tool in its own process is asked.
        version = tool.version
        keys = [
            outcome_key(tool.name, version, arguments, *dependency)
            for (arguments, _), dependency in zip(requests, dependencies, strict=True)
        ]
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    kept = cache.get(list(first)) if cache else [None] * len(first)
    outcome_of = {key: outcome for key, outcome in zip(first, kept, strict=True) if outcome}
    missing = [key for key in dict.fromkeys(keys) if key not in outcome_of]
    progress(0, len(missing))
    for start in range(0, len(missing), tool.calls_per_batch):
        batch = missing[start : start + tool.calls_per_batch]
        outcomes = calls.make([requests[first[key]] for key in batch])
        made = dict(zip(batch, outcomes, strict=True))
        outcome_of.update(made)
        if cache:
            # Its index, model or data may have been replaced meanwhile.
            if (now := tool.version) != version:
                raise tool_changed_error(tool.name, version, now)
            # A run that is killed has kept the batches before.
            cache.keep(made)
        progress(start + len(batch), len(missing))
    return [
        _cleaned(
            outcome_of[key]
            if number == first[key]
            else replace(outcome_of[key], seconds=0.0, from_cache=True)
        )
        for number, key in enumerate(keys)
    ]


def call_runner(
    tools: Mapping[str, Tool],
    askers: Sequence[Document],
    *,
    limits: Limits,
    on_outcome: Callable[[int, str, str | None], None] | None = None,
    failures: Counter[str] | None = None,
) -> Callable[[Sequence[tuple[int, ToolCall]]], list[str | None]]:
    """Return what a decoder runs its pending calls with.

    Args:
        on_outcome: Gets the index of whoever called, the tool, and why there is no result; None
            where there is one.
        failures: See `tools.running.deadlines.Calls`; counted for as long as the function lives.

    Returns:
        A function from pairs of index into `askers` and call to one result each, free of call
        markers; None where there is no result, `NO_ANSWER` where another call would have none
        either. It raises what `execute_calls` raises.

    Example:
        >>> from tools.calculator import Calculator
        >>> limits = Limits(deadline_seconds=10)
        >>> run = call_runner({"Calculator": Calculator()}, [Document("a", "")], limits=limits)
        >>> run([(0, ToolCall("Calculator", "6 * 7")), (0, ToolCall("Calculator", "1 / 0"))])
        ['42', None]
    """
    failures = Counter() if failures is None else failures

    def run(calls: Sequence[tuple[int, ToolCall]]) -> list[str | None]:
        results: list[str | None] = [None] * len(calls)
        for name in sorted({call.tool_name for _, call in calls}):
            places = [index for index, (_, call) in enumerate(calls) if call.tool_name == name]
            outcomes = execute_calls(
                tools[name],
                [(calls[index][1].arguments, askers[calls[index][0]]) for index in places],
                limits=limits,
                failures=failures,
            )
            for index, outcome in zip(places, outcomes, strict=True):
                results[index] = outcome.result if outcome.is_permanent else NO_ANSWER
                if on_outcome is not None:
                    on_outcome(calls[index][0], name, outcome.reason)
        return results

    return run


def _cache_keys(tool: Tool, documents: Sequence[Document]) -> list[tuple[str, ...]] | None:
    """Return what the answers depend on; None where one must not be kept, or cannot be."""
    keys: dict[Document, tuple[str, ...]] = {}
    try:
        for document in dict.fromkeys(documents):
            key: Any = tool.cache_key(document)
            if key is None:
                return None
            if not (isinstance(key, tuple) and all(isinstance(part, str) for part in key)):
                raise TypeError(f"it gave {key!r}")
            keys[document] = key
    except WHOLE_TOOL_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001
        # A tool may raise anything; what is kept of its answers must never end a shard.
        _LOGGER.warning(
            "The answers of %s are not kept, since its cache_key fails (%s: %s). Expected a tuple "
            "of texts, or None.",
            tool.name,
            type(error).__name__,
            error,
        )
        return None
    return [keys[document] for document in documents]


def _cleaned(outcome: ToolResult) -> ToolResult:
    if outcome.result is None:
        return outcome
    cleaned = clean_result(outcome.result) or None
    return replace(outcome, result=cleaned, reason="empty_result" if cleaned is None else None)
