"""Executes the calls of a tool (paper §2). A failing call never ends a run."""

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

# Reasons of failed calls that may have a result the next time.
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
    """Execute calls of one tool, in batches if it supports them; return results in order.

    The reason of a failed call is `empty_result` or one of `Calls.make`, which also documents the
    errors.

    Args:
        cache: Outcomes of earlier calls, to which new outcomes are added. Equal calls are made only
            once. If it is None, every call is made.
        progress: Called at the start and after each batch with the numbers of calls made and to
            make. Cached calls are not counted.
        failures: See `Calls`; pass it to count across several invocations.

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
        # Read only once: the property may read files, or ask the tool's process.
        version = tool.version
        keys = [
            outcome_key(tool.name, version, arguments, *dependency)
            for (arguments, _), dependency in zip(requests, dependencies, strict=True)
        ]
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    cached = cache.get(list(first)) if cache else [None] * len(first)
    outcome_of = {key: outcome for key, outcome in zip(first, cached, strict=True) if outcome}
    missing = [key for key in dict.fromkeys(keys) if key not in outcome_of]
    progress(0, len(missing))
    for start in range(0, len(missing), tool.calls_per_batch):
        batch = missing[start : start + tool.calls_per_batch]
        outcomes = calls.make([requests[first[key]] for key in batch])
        new_outcomes = dict(zip(batch, outcomes, strict=True))
        outcome_of.update(new_outcomes)
        if cache:
            # The tool's index, model or data may have been replaced meanwhile.
            if (now := tool.version) != version:
                raise tool_changed_error(tool.name, version, now)
            # Stored after each batch, so that a killed run loses only one batch.
            cache.keep(new_outcomes)
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
    """Return a function that executes the pending calls of a decoder.

    It takes pairs of index into `askers` and call, and returns one result per pair: the result
    without call markers, None if there is none, or `NO_ANSWER` if the failure is transient.

    Args:
        on_outcome: Called with the index, the tool's name and the reason of a failure, else None.
        failures: See `Calls`.

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
            indexes = [index for index, (_, call) in enumerate(calls) if call.tool_name == name]
            outcomes = execute_calls(
                tools[name],
                [(calls[index][1].arguments, askers[calls[index][0]]) for index in indexes],
                limits=limits,
                failures=failures,
            )
            for index, outcome in zip(indexes, outcomes, strict=True):
                results[index] = outcome.result if outcome.is_permanent else NO_ANSWER
                if on_outcome is not None:
                    on_outcome(calls[index][0], name, outcome.reason)
        return results

    return run


def _cache_keys(tool: Tool, documents: Sequence[Document]) -> list[tuple[str, ...]] | None:
    """Return the cache key of each document; None if answers must not or cannot be cached."""
    keys: dict[Document, tuple[str, ...]] = {}
    try:
        for document in dict.fromkeys(documents):
            key: Any = tool.cache_key(document)
            if key is None:
                return None
            if not (isinstance(key, tuple) and all(isinstance(part, str) for part in key)):
                raise TypeError(f"it returned {key!r}")
            keys[document] = key
    except WHOLE_TOOL_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001
        # A tool may raise anything, but caching must never end a shard.
        _LOGGER.warning(
            "The answers of %s are not cached, because its cache_key fails (%s: %s). Expected a "
            "tuple of texts, or None.",
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
