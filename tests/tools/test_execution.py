"""Running many calls with deadlines."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.base import BaseTool
from tools.calculator import Calculator
from tools.errors import (
    MissingDependencyError,
    ToolCallError,
    ToolDiedError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.execution import execute_calls
from tools.protocol import Document

DOCUMENT = Document("d", "a text")
ANSWERS = {"number": 5, "nothing": " \n "}
ERRORS = {
    "refuse": ToolCallError("refused", "Refused."),
    "late": ToolTimeoutError("Too late."),
    "crash": ZeroDivisionError("crashed"),
    "memory": MemoryError(),
    "dead": ToolDiedError("Dead."),
    "unavailable": ToolUnavailableError("Echo", "gone", "Bring it back"),
    "dependency": MissingDependencyError("No package."),
}


class Echo(BaseTool):
    """Answers with its arguments; some words make it misbehave."""

    name = "Echo"
    version = "1"
    description = "Repeats its arguments."

    def __init__(self):
        self.never = threading.Event()
        self.calls = []

    def call(self, arguments, document):
        self.calls.append(arguments)
        if arguments == "hang":
            self.never.wait(60)
        if arguments in ERRORS:
            raise ERRORS[arguments]
        return ANSWERS.get(arguments, arguments)


class BatchEcho(Echo):
    """The same with a batch method of its own."""

    name = "BatchEcho"

    def __init__(self):
        super().__init__()
        self.batches = []

    def call_batch(self, requests):
        self.batches.append([arguments for arguments, _ in requests])
        if any(arguments == "short" for arguments, _ in requests):
            return []
        return super().call_batch(requests)


TOOLS = [Echo, BatchEcho]


def execute(tool, arguments, deadline_seconds=5.0, **options):
    requests = [(text, DOCUMENT) for text in arguments]
    return execute_calls(tool, requests, deadline_seconds=deadline_seconds, **options)


def outcomes(results):
    return [result.result or result.reason for result in results]


@pytest.mark.parametrize("tool_class", TOOLS)
@given(
    texts=st.lists(st.sampled_from(["a", "b", "c d", "refuse"]), max_size=12),
    size=st.integers(1, 5),
)
def test_results_stand_in_the_order_of_the_requests(tool_class, texts, size):
    results = execute(tool_class(), texts, batch_size=size)
    assert outcomes(results) == [text.replace("refuse", "refused") for text in texts]
    for result in results:
        assert (result.status == "executed") == (result.result is not None)
        assert (result.reason is None) == (result.result is not None)
        assert result.duration_ms >= 0
        assert not result.from_cache


@pytest.mark.parametrize("tool_class", TOOLS)
def test_failures_are_data_and_others_are_not_touched(tool_class, caplog):
    texts = ["a", "refuse", "crash", "memory", "number", "nothing", "late", "b"]
    results = execute(tool_class(), texts)
    assert outcomes(results) == [
        "a",
        "refused",
        "tool_error",
        "tool_error",
        "tool_error",
        "empty_result",
        "timeout",
        "b",
    ]
    assert "ZeroDivisionError" in caplog.text


def test_an_unexpected_error_is_logged_once_per_kind(caplog):
    execute(Echo(), ["crash"] * 20)
    assert len(caplog.records) == 1


def test_results_are_cleaned_of_markers():
    results = execute(Echo(), ["see [2] -> x\ny"])
    assert results[0].result == "see (2) to x y"


def test_the_document_reaches_the_tool():
    class Length(Echo):
        def call(self, arguments, document):
            return document.text

    assert outcomes(execute(Length(), ["x"])) == ["a text"]


@pytest.mark.parametrize("tool_class", TOOLS)
def test_a_call_that_hangs_is_a_timeout_and_loses_no_other(tool_class):
    tool = tool_class()
    started = time.perf_counter()
    results = execute(tool, ["a", "hang", "b", "hang", "c"], deadline_seconds=0.1)
    tool.never.set()
    assert outcomes(results) == ["a", "timeout", "b", "timeout", "c"]
    assert results[1].duration_ms >= 100
    assert time.perf_counter() - started < 5


def test_calls_before_a_hang_are_not_made_twice():
    tool = Echo()
    execute(tool, ["a", "hang", "b"], deadline_seconds=0.1)
    assert tool.calls == ["a", "hang", "b"]
    tool.never.set()


@pytest.mark.parametrize("tool_class", TOOLS)
def test_three_timeouts_in_a_row_give_the_tool_up(tool_class):
    tool = tool_class()
    with pytest.raises(ToolDiedError, match="3 calls in a row"):
        execute(tool, ["a", "hang", "hang", "hang", "b"], deadline_seconds=0.05)
    tool.never.set()
    assert "b" not in tool.calls[:4]


def test_timeouts_that_are_not_in_a_row_do_not_give_the_tool_up():
    results = execute(Echo(), ["late", "late", "a", "late", "late", "refuse", "late"])
    assert outcomes(results).count("timeout") == 5


def test_timeouts_are_counted_across_batches():
    with pytest.raises(ToolDiedError):
        execute(BatchEcho(), ["late"] * 3, batch_size=1)


@pytest.mark.parametrize("tool_class", TOOLS)
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("dead", ToolDiedError),
        ("unavailable", ToolUnavailableError),
        ("dependency", MissingDependencyError),
    ],
)
def test_errors_about_the_whole_tool_end_the_run(tool_class, text, error):
    with pytest.raises(error):
        execute(tool_class(), ["a", text, "b"])


def test_a_batch_method_gets_batches_of_the_given_size():
    tool = BatchEcho()
    execute(tool, list("abcde"), batch_size=2)
    assert tool.batches == [["a", "b"], ["c", "d"], ["e"]]


def test_the_time_of_a_batch_is_shared_among_its_calls():
    results = execute(BatchEcho(), list("abcd"))
    assert len({result.duration_ms for result in results}) == 1


def test_a_batch_that_answers_too_few_calls_is_made_one_by_one(caplog):
    results = execute(BatchEcho(), ["a", "short", "b"])
    assert outcomes(results) == ["a", "short", "b"]
    assert "list" in caplog.text


def test_no_request_gives_no_result():
    assert execute(Echo(), []) == []
    assert execute(BatchEcho(), []) == []


@pytest.mark.parametrize("options", [{"deadline_seconds": 0}, {"batch_size": 0}])
def test_limits_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        execute(Echo(), ["a"], **options)


def test_threads_are_used_again():
    tool = Echo()
    execute(tool, ["a"])
    before = threading.active_count()
    for _ in range(50):
        execute(tool, ["a", "b"])
    assert threading.active_count() <= before + 2


def test_many_calls_take_little_time_each():
    started = time.perf_counter()
    results = execute(Calculator(), ["6 * 7"] * 5_000)
    assert {result.result for result in results} == {"42"}
    assert time.perf_counter() - started < 10


def test_a_call_that_hangs_does_not_keep_the_interpreter_alive():
    code = (
        "import time\n"
        "from tests.tools.test_execution import Echo, execute\n"
        "print(execute(Echo(), ['hang'], deadline_seconds=0.1)[0].reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=40,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "timeout"
