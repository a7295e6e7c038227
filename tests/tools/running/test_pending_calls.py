"""Calls of tools while texts are decoded."""

from tools.base import Tool
from tools.errors import ToolTimeoutError
from tools.protocol import Document, ToolCall
from tools.running.deadlines import MOST_FAILURES_IN_A_ROW, Limits
from tools.running.pending_calls import call_runner


class Down(Tool):
    """Never answers in time."""

    name, version, description = "Down", "1", "Is down."
    calls = 0

    def call(self, arguments, document):
        self.calls += 1
        raise ToolTimeoutError("Too late.")


def test_a_dead_tool_is_given_up_once_for_all_steps_of_a_generation():
    tool, reasons = Down(), []
    run = call_runner(
        {"Down": tool},
        [Document("a", "")],
        limits=Limits(5),
        on_outcome=lambda place, name, reason: reasons.append(reason),
    )
    for _ in range(MOST_FAILURES_IN_A_ROW + 2):
        assert run([(0, ToolCall("Down", "x"))]) == [None]
    assert tool.calls == MOST_FAILURES_IN_A_ROW
    assert reasons[-3:] == ["timeout", "given_up", "given_up"]
