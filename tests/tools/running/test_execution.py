"""Running many calls with deadlines."""

import datetime
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.base import Tool
from tools.errors import ToolCallError, ToolDiedError, ToolTimeoutError, ToolUnavailableError
from tools.protocol import LONGEST_ANSWER, NO_ANSWER, Document, ToolCall
from tools.running.deadlines import MAX_FAILURES_IN_A_ROW, Limits
from tools.running.execution import call_runner, execute_calls
from tools.running.result_cache import ResultCache, outcome_key

REPOSITORY = Path(__file__).parents[3]
DOCUMENT = Document("d", "a text")
ANSWERS = {"number": 5, "nothing": " \n ", "large": "x" * (LONGEST_ANSWER + 1)}
ERRORS = {
    "refuse": ToolCallError("refused", "Refused."),
    "late": ToolTimeoutError("Too late."),
    "crash": ZeroDivisionError("crashed"),
    "memory": MemoryError(),
    "dead": ToolDiedError("Dead."),
    "unavailable": ToolUnavailableError("Echo", "gone", "Bring it back"),
}


class Echo(Tool):
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

    def call_batch(self, requests):
        if any(arguments == "short" for arguments, _ in requests):
            return []
        return super().call_batch(requests)


TOOLS = [Echo, BatchEcho]


def execute(tool, arguments, deadline_seconds=5.0, batch_size=256, **options):
    tool.calls_per_batch = batch_size
    requests = [(text, DOCUMENT) for text in arguments]
    return execute_calls(tool, requests, limits=Limits(deadline_seconds), **options)


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
        assert (result.reason is None) == (result.result is not None)
        assert result.seconds >= 0
        assert not result.from_cache


@pytest.mark.parametrize("tool_class", TOOLS)
def test_failures_are_data_and_others_are_not_touched(tool_class, caplog):
    expected = {
        "a": "a",
        "refuse": "refused",
        "crash": "tool_error",
        "memory": "tool_error",
        "number": "tool_error",
        "nothing": "empty_result",
        "late": "timeout",
        "large": "x" * LONGEST_ANSWER,
        "b": "b",
    }
    assert outcomes(execute(tool_class(), list(expected))) == list(expected.values())
    assert "ZeroDivisionError" in caplog.text


def test_any_reason_becomes_a_word_and_stays_in_the_message(cache):
    class Refusing(Echo):
        def call(self, arguments, document):
            raise ToolCallError("HTTP 404: Not \ud800", "Gone.")

    for is_first in (True, False):
        (result,) = execute(Refusing(), ["x"], cache=cache)
        assert (result.reason, result.from_cache) == ("http_404_not", not is_first)
        assert result.message == r"'HTTP 404: Not \ud800': Gone."


@pytest.mark.parametrize("tool_class", TOOLS)
def test_a_call_that_hangs_is_a_timeout_and_loses_no_other(tool_class):
    tool = tool_class()
    results = execute(tool, ["a", "hang", "b", "hang", "c"], deadline_seconds=0.1)
    tool.never.set()
    assert outcomes(results) == ["a", "timeout", "b", "timeout", "c"]
    assert 0.1 <= results[1].seconds < 5


@pytest.mark.parametrize(("tool_class", "size"), [(Echo, 256), (BatchEcho, 256), (BatchEcho, 1)])
def test_calls_after_many_timeouts_in_a_row_are_given_up(tool_class, size):
    texts = ["a", *["late"] * (MAX_FAILURES_IN_A_ROW + 1), "b"]
    found = outcomes(execute(tool_class(), texts, batch_size=size))
    assert found == ["a", *["timeout"] * MAX_FAILURES_IN_A_ROW, "given_up", "given_up"]


def test_neither_errors_nor_timeouts_that_are_not_in_a_row_give_the_tool_up():
    many = ["late"] * (MAX_FAILURES_IN_A_ROW - 1)
    results = execute(Echo(), [*many, "a", *many, "refuse", "late"])
    assert set(outcomes(results)) == {"timeout", "a", "refused"}
    assert set(outcomes(execute(Echo(), ["crash"] * (MAX_FAILURES_IN_A_ROW + 1)))) == {"tool_error"}


@pytest.mark.parametrize("text", ["dead", "unavailable"])
def test_errors_about_the_whole_tool_end_the_run_and_what_was_done_before_is_kept(cache, text):
    for tool_class in TOOLS:
        with pytest.raises(type(ERRORS[text])):
            execute(tool_class(), ["a", "b", "c", text], batch_size=2, cache=cache)
        tool = tool_class()
        execute(tool, ["a", "b"], cache=cache)
        assert tool.calls == []


def test_a_batch_that_answers_too_few_calls_is_made_one_by_one(caplog):
    results = execute(BatchEcho(), ["a", "short", "b"])
    assert outcomes(results) == ["a", "short", "b"]
    assert "list" in caplog.text


@pytest.fixture
def cache(tmp_path):
    return ResultCache(tmp_path / "cache")


@pytest.mark.parametrize("tool_class", TOOLS)
def test_answers_of_a_tool_that_changes_meanwhile_are_kept_under_no_version(tool_class, cache):
    class Changing(tool_class):
        def call(self, arguments, document):
            self.version = str(len(self.calls) // 2 + 1)
            return super().call(arguments, document)

    tool = Changing()
    with pytest.raises(ToolUnavailableError, match="from version '1' to '2'"):
        execute(tool, ["a", "b", "c", "d"], cache=cache, batch_size=2)
    assert tool.calls == ["a", "b", "c", "d"]
    for version in ("1", "2"):
        tool.version = version
        held = cache.get([outcome_key(tool.name, version, each, "") for each in "abcd"])
        assert [bool(each) for each in held] == [version == "1"] * 2 + [False] * 2


@pytest.mark.parametrize("tool_class", TOOLS)
def test_what_a_cache_holds_is_not_called_again_and_accidents_are(tool_class, cache):
    expected = {"a": "a", "refuse": "refused", "nothing": "empty_result"}
    accidents = {"crash": "tool_error", "late": "timeout", "number": "tool_error"}
    for is_first in (True, False):
        tool = tool_class()
        results = execute(tool, [*expected, *accidents, "a"], cache=cache)
        assert outcomes(results) == [*expected.values(), *accidents.values(), "a"]
        # Equal calls are made once.
        flags = [*[not is_first] * 3, False, False, False, True]
        assert [result.from_cache for result in results] == flags
        assert set(tool.calls) == {*accidents, *(expected if is_first else ())}


def test_another_version_and_another_date_are_other_calls(cache):
    class Newer(Echo):
        version = "2"

    execute(Echo(), ["a"], cache=cache)
    newer = Newer()
    execute(newer, ["a"], cache=cache)
    assert newer.calls == ["a"]
    tool = Echo()
    for day in (1, 2, 1):
        document = Document("d", "a text", published_on=datetime.date(2024, 5, day))
        execute_calls(tool, [("a", document)], limits=Limits(5), cache=cache)
    assert tool.calls == ["a", "a"]


@pytest.mark.parametrize("key", [None, (datetime.date(2024, 5, 1),), b"bytes", ValueError()])
def test_without_a_usable_cache_key_nothing_is_kept(cache, key):
    class Keyed(Echo):
        def cache_key(self, document):
            if isinstance(key, Exception):
                raise key
            return key

    for _ in range(2):
        (result,) = execute(Keyed(), ["a"], cache=cache)
        assert (result.result, result.from_cache) == ("a", False)


@pytest.mark.parametrize(("key_of_b", "expected"), [(("2",), "abc"), (None, "ab")])
def test_a_document_is_asked_once_for_its_cache_key_and_none_after_one_without(
    cache, key_of_b, expected
):
    asked = []

    class Asked(Echo):
        def cache_key(self, document):
            asked.append(document.document_id)
            return key_of_b if document.document_id == "b" else ("1",)

    documents = [Document(name, "a text") for name in "abc"]
    requests = [(arguments, document) for document in documents for arguments in "xy"]
    results = execute_calls(Asked(), requests, limits=Limits(5), cache=cache)
    assert outcomes(results) == ["x", "y"] * 3
    assert asked == list(expected)


def test_progress_is_told_batch_by_batch(cache):
    for used in (cache, None):
        told = []
        tell = lambda *numbers, told=told: told.append(numbers)  # noqa: E731
        execute(Echo(), "abcde", batch_size=2, cache=used, progress=tell)
        assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]


def test_a_cache_that_cannot_be_used_costs_no_result(tmp_path):
    folder = tmp_path / "file"
    folder.write_text("in the way")
    cache = ResultCache(folder)
    assert outcomes(execute(Echo(), ["a", "b"], cache=cache)) == ["a", "b"]


@pytest.mark.parametrize(
    "change",
    [
        lambda raw, key: raw.set(key, ["c"]),
        lambda raw, _: raw._sql("UPDATE Cache SET value = substr(value, 1, 9)"),
        lambda raw, _: raw._sql("UPDATE Cache SET mode = 4"),
    ],
)
def test_a_call_whose_value_cannot_be_read_is_made_again(cache, tmp_path, change):
    import diskcache

    execute(Echo(), ["a", "b"], cache=cache)
    with diskcache.Cache(str(tmp_path / "cache"), disk=diskcache.JSONDisk) as raw:
        change(raw, outcome_key("Echo", "1", "a", ""))
    tool = Echo()
    results = execute(tool, ["a", "b"], cache=ResultCache(tmp_path / "cache"))
    assert outcomes(results) == ["a", "b"]
    assert "a" in tool.calls


def test_processes_share_a_cache(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.tools.running.test_execution import Echo, execute\n"
        "from tools.running.result_cache import ResultCache\n"
        "texts = [str(number) for number in range(200)]\n"
        "results = execute(Echo(), texts, cache=ResultCache(Path(sys.argv[1])), batch_size=10)\n"
        "assert [result.result for result in results] == texts\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    tool = Echo()
    execute(tool, [str(number) for number in range(200)], cache=ResultCache(tmp_path))
    assert tool.calls == []


def test_threads_are_used_again():
    tool = Echo()
    execute(tool, ["a"])
    before = threading.active_count()
    for _ in range(50):
        execute(tool, ["a", "b"])
    assert threading.active_count() <= before + 2


def test_a_call_that_hangs_does_not_keep_the_interpreter_alive():
    code = (
        "from tests.tools.running.test_execution import Echo, execute\n"
        "print(execute(Echo(), ['hang'], deadline_seconds=0.1)[0].reason)\n"
    )
    done = subprocess.check_output([sys.executable, "-c", code], timeout=40, cwd=REPOSITORY)
    assert done == b"timeout\n"


def test_a_dead_tool_is_given_up_once_for_all_steps_of_a_generation():
    tool, reasons = Echo(), []
    run = call_runner(
        {"Echo": tool},
        [Document("a", "")],
        limits=Limits(5),
        on_outcome=lambda place, name, reason: reasons.append(reason),
    )
    for _ in range(MAX_FAILURES_IN_A_ROW + 2):
        # Another call would have no answer either.
        assert run([(0, ToolCall("Echo", "late"))]) == [NO_ANSWER]
    assert len(tool.calls) == MAX_FAILURES_IN_A_ROW
    assert reasons[-3:] == ["timeout", "given_up", "given_up"]
