"""The calls that texts wait for while they are decoded: of several tools, for several texts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tools.base import Tool
from tools.protocol import Document, ToolCall
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls

# Why a call has no result that it may have the next time.
MAY_PASS = frozenset({"timeout", "transient_error"})


def call_runner(
    tools: Mapping[str, Tool],
    askers: Sequence[Document],
    *,
    limits: Limits,
    on_outcome: Callable[[int, str, str | None], None] | None = None,
    failures: Counter[str] | None = None,
) -> Callable[[Sequence[tuple[int, ToolCall]]], list[str | None]]:
    """What a decoder runs its pending calls with.

    Args:
        on_outcome: Told of each call whose it was, the tool, and why there is no result; None where
            there is one.
        failures: See `tools.running.deadlines.Calls`; by default they are counted for as long as
            the function lives.

    Returns:
        A function from pairs of index into `askers` and call to one result each, free of call
        markers; None where there is no result. It raises what `execute_calls` raises.

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
            places = [place for place, (_, call) in enumerate(calls) if call.tool_name == name]
            outcomes = execute_calls(
                tools[name],
                [(calls[place][1].arguments, askers[calls[place][0]]) for place in places],
                limits=limits,
                failures=failures,
            )
            for place, outcome in zip(places, outcomes, strict=True):
                results[place] = outcome.result
                if on_outcome is not None:
                    on_outcome(calls[place][0], name, outcome.reason)
        return results

    return run
