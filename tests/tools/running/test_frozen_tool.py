"""A frozen tool answers what was answered, and asks the tool nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.running.test_frozen_answers import ECHO, ROW, table, write
from tools.base import BaseTool
from tools.errors import (
    CallSyntaxError,
    FrozenAnswersError,
    MissingAnswerError,
    ToolCallError,
    ToolUnavailableError,
)
from tools.protocol import Document, Preselection, Proposal
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.frozen_answers import FrozenAnswer, FrozenAnswers, document_digest
from tools.running.frozen_tool import FrozenTool
from tools.yours.frozen_parameters import frozen_parameters
from tools.yours.function_tool import FunctionTool
from tools.yours.typed_arguments import Parameter

TEXT, OTHER = Document("x", "A text of its own."), Document("y", "Another text.")
TYPED = frozen_parameters(
    FunctionTool(
        name="Echo",
        description="Repeats.",
        parameters=[Parameter("count", "integer", least=0)],
        function=str,
        version="1",
    )
)


def never() -> BaseTool:
    pytest.fail("the tool itself was opened")


@pytest.fixture
def answers(tmp_path: Path) -> FrozenAnswers:
    digest = document_digest(TEXT)
    failed = {"result": None, "reason": "division_by_zero"}
    leak = {"result": None, "reason": "leak", "repeated_before": 0.0, "repeated_after": 1.0}
    return FrozenAnswers(
        write(
            tmp_path / "answers.parquet",
            {"document": digest},
            {"document": digest, "arguments": "b", "character_offset": 7, **failed},
            {"document": digest, "arguments": "c", "character_offset": 7, **leak},
            # At another place the same answer is no leak.
            {"document": digest, "arguments": "d", "character_offset": 7, **leak},
            {"document": digest, "arguments": "d", "character_offset": 9},
        )
    )


def frozen(answers: FrozenAnswers, *, open_original=never, while_decoding=False, **changes):
    return FrozenTool(
        replace(ECHO, **changes),
        answers,
        open_original=open_original,
        while_decoding=while_decoding,
    )


def test_it_says_of_itself_what_the_tool_said(answers):
    tool = frozen(answers, version_while_decoding="1 decoding", makes_proposals=True)
    assert (tool.name, tool.version, tool.sampling_version) == ("Echo", "1 times=2", "1")
    assert (tool.description, tool.prompt) == (ECHO.description, ECHO.prompt)
    assert tool.makes_proposals
    tool.check_available()
    tool.prepare()


def test_calls_of_the_build_become_what_they_became(answers):
    calls = [("c", TEXT, 7), ("a", replace(TEXT, document_id="z"), 3), ("b", TEXT, 7)]
    assert frozen(answers).recorded(calls) == [
        FrozenAnswer(None, "leak", 0.0, 1.0),
        FrozenAnswer("a a", None, None, None),
        FrozenAnswer(None, "division_by_zero", None, None),
    ]
    assert frozen(answers).recorded([]) == []


@pytest.mark.parametrize("call", [("a", TEXT, 4), ("z", TEXT, 3), ("a", OTHER, 3)])
def test_a_missing_answer_names_tool_arguments_file_and_remedy(answers, call):
    with pytest.raises(MissingAnswerError) as caught:
        frozen(answers).recorded([("a", TEXT, 3), call])
    for part in (f"Echo({call[0]})", "answers.parquet", call[1].text[:13], "execution.replay"):
        assert part in str(caught.value)
    with pytest.raises(MissingAnswerError, match="nor to 1 other calls"):
        frozen(answers).recorded([call, call])


def test_a_call_while_decoding_is_answered_wherever_it_stood(answers):
    tool = frozen(answers)
    requests = [("a", TEXT), ("b", TEXT), ("d", TEXT)]
    results = execute_calls(tool, requests, limits=Limits(5))
    assert [(each.result, each.reason) for each in results] == [
        ("a a", None),
        (None, "division_by_zero"),
        ("a a", None),
    ]
    assert tool.call("a", TEXT) == "a a"
    with pytest.raises(ToolCallError, match="division_by_zero"):
        tool.call("b", TEXT)


@pytest.mark.parametrize("request_", [("z", TEXT), ("a", OTHER), ("c", TEXT)])
def test_a_call_while_decoding_without_answer_ends_the_run(answers, request_):
    # What a leak was, the file does not say.
    with pytest.raises(MissingAnswerError, match="Echo"):
        execute_calls(frozen(answers), [("a", TEXT), request_], limits=Limits(5))


def test_an_answer_of_another_version_is_none_while_decoding(answers):
    tool = frozen(answers, while_decoding=True, version_while_decoding="1 published_on")
    assert tool.version == "1 published_on"
    with pytest.raises(MissingAnswerError):
        tool.call("a", TEXT)


def test_a_typed_tool_reads_calls_without_the_tool(answers):
    tool = frozen(answers, parameters=TYPED)
    assert tool.parse_arguments("count=012") == "12"
    with pytest.raises(CallSyntaxError, match="at least 0"):
        tool.parse_arguments("-1")
    assert tool.preselect(TEXT) == Preselection(is_selected=True, reason="every_text")
    assert tool.proposals(TEXT) == ()
    tool.check_place("12", before="", after="12")


class Own(BaseTool):
    name, version, description = "Echo", "1", "Repeats."

    def parse_arguments(self, text):
        return text.upper()

    def preselect(self, document):
        return Preselection(is_selected=False, reason="never")

    def proposals(self, document):
        return [Proposal(1)]

    def check_place(self, arguments, *, before, after):
        raise CallSyntaxError("misplaced", arguments)

    def call(self, arguments, document):
        pytest.fail("the tool itself was called")


def test_what_a_tool_with_code_of_its_own_does_before_a_call_its_code_does(answers):
    opened = []
    tool = frozen(answers, open_original=lambda: opened.append(1) or Own())
    assert not opened
    assert tool.parse_arguments("a") == "A"
    assert tool.preselect(TEXT).reason == "never"
    assert tool.proposals(TEXT) == [Proposal(1)]
    with pytest.raises(CallSyntaxError, match="a"):
        tool.check_place("a", before="", after="")
    assert tool.call("a", TEXT) == "a a"
    assert opened == [1]


def test_code_that_is_gone_or_another_is_an_error(answers):
    def gone():
        raise ToolUnavailableError("Echo", "there is no module", "Install it")

    with pytest.raises(ToolUnavailableError, match=r"there is no module.*replayed without it"):
        frozen(answers, open_original=gone).parse_arguments("a")
    with pytest.raises(ToolUnavailableError, match=r"another rule \('1'\).*\('0'\)"):
        frozen(answers, open_original=Own, sampling_version="0").parse_arguments("a")


def test_parameters_that_are_none_are_an_error(answers):
    with pytest.raises(FrozenAnswersError, match="cannot be read"):
        frozen(answers, parameters=[{"name": "count"}])


def test_the_rows_of_these_tests_have_all_columns():
    assert table({}).column_names == [*ROW]
