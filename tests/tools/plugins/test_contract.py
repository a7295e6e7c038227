"""The contract test: good tools keep every rule, and each broken one fails at its own."""

import itertools
import sys
import threading

import pytest

from tests.tools.test_question_answering import CANAL, FirstWordReader, FixedRetriever
from tools.base import Tool
from tools.calculator import Calculator
from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolSettingsError,
    ToolUnavailableError,
)
from tools.plugins.contract import check_contract
from tools.plugins.function_tool import FunctionTool
from tools.plugins.trial import Trial
from tools.prompting import draft_prompt, load_prompt
from tools.protocol import Preselection, Proposal
from tools.registry import TOOL_NAMES, create_tool

EXAMPLES = [
    "It says [Echo(one)] one.",
    "It says [Echo(two words)] two words.",
    "It says [Echo(three)] three.",
]
DEADLINE = 10.0


class Echo(Tool):
    """Repeats its arguments; subclasses break one rule each."""

    name = "Echo"
    version = "1"
    description = "Repeats a word."
    prompt = draft_prompt("Echo", "Repeats a word.", EXAMPLES)

    def call(self, arguments, document):
        return arguments[:50]


def findings(create, settings=None, *, name="Echo", deadline=DEADLINE):
    trial = Trial(
        name,
        create,
        settings or {},
        read_prompt=lambda tool: load_prompt(name, own=tool.prompt),
        deadline_seconds=deadline,
    )
    return list(check_contract(trial))


def states(create, settings=None, **options):
    return {each.rule: each.status for each in findings(create, settings, **options)}


def failed(create, settings=None, **options):
    return {
        each.rule: each.detail
        for each in findings(create, settings, **options)
        if each.status == "failed"
    }


def made(tool_class):
    return lambda given: tool_class(**given)


@pytest.mark.parametrize("name", [name for name in TOOL_NAMES if name != "WikiSearch"])
def test_the_built_in_tools_keep_the_contract(name):
    of_home = {"QA": {"retriever": FixedRetriever(CANAL), "reader": FirstWordReader()}}
    found = findings(lambda given: create_tool(name, {**of_home.get(name, {}), **given}), name=name)
    assert [each for each in found if each.status == "failed"] == []
    assert len(found) == 14


def test_a_good_tool_keeps_every_rule_and_without_settings_there_is_nothing_to_change():
    found = states(made(Echo))
    for rule in ("version names what answers depend on", "proposals lie in their texts"):
        assert found.pop(rule) == "skipped"
    assert set(found.values()) == {"passed"}


def test_a_function_tool_keeps_the_contract():
    def double(number: float, times: int = 1, loud: bool = False) -> float:
        """Doubles a number."""
        return number * 2**times if times < 100 else 0.0

    examples = [f"Twice {n} is [double({n})] {2 * n}." for n in (1, 2, 3)]
    tool = FunctionTool.from_function(double, examples=examples, version="1")

    def create(given):
        if given:
            raise ToolSettingsError("none")
        return tool

    assert failed(create, name="double") == {}


class OtherName(Echo):
    name = "Echoes"


class NoVersion(Echo):
    version = ""


class RandomVersion(Echo):
    numbers = itertools.count()

    def __init__(self):
        self.version = str(next(self.numbers))


class NoPrompt(Echo):
    prompt = None


class ChangedText(Echo):
    prompt = str(Echo.prompt).replace("Output: It says [Echo(one)] one.", "Output: [Echo(one)] 1.")


class RefusesItsDemonstrations(Echo):
    def parse_arguments(self, text):
        if text == "one":
            raise CallSyntaxError("no_one", "Not one.")
        return super().parse_arguments(text)


class Growing(Echo):
    def parse_arguments(self, text):
        return super().parse_arguments(text) + "!"


class Quoting(Echo):
    def parse_arguments(self, text):
        if text == "tomorrow":
            return '"tomorrow!"'
        if text == "tomorrow!":
            raise CallSyntaxError("no_call", "Not so loud.")
        return super().parse_arguments(text)


class Markers(Echo):
    def parse_arguments(self, text):
        return " ".join(text.split()) or "nothing"


class WrongError(Echo):
    def parse_arguments(self, text):
        arguments = super().parse_arguments(text)
        if arguments.isnumeric():
            return str(int(arguments) + 0) if arguments.isascii() else str(float(arguments))
        return arguments


class LongReason(Echo):
    def parse_arguments(self, text):
        if not text.strip():
            raise CallSyntaxError("There is nothing", "Nothing.")
        return super().parse_arguments(text)


class ManyLines(Echo):
    def parse_arguments(self, text):
        return text if text == "a\nb" else super().parse_arguments(text)


class SlowParser(Echo):
    def parse_arguments(self, text):
        if text == "tomorrow":
            threading.Event().wait(10)
        return super().parse_arguments(text)


class PickyPreselection(Echo):
    def preselect(self, document):
        return Preselection(is_selected=document.text[0] == "A", reason="begins_with_a")


class NoPreselection(Echo):
    def preselect(self, document):
        return True


class Beyond(Echo):
    def proposals(self, document):
        return [Proposal(len(document.text))]


class Hanging(Echo):
    def call(self, arguments, document):
        if arguments == "tomorrow":
            threading.Event().wait(10)
        return arguments


class Crashing(Echo):
    def call(self, arguments, document):
        if arguments == "tomorrow":
            raise KeyError(arguments)
        return arguments


class Exiting(Echo):
    def call(self, arguments, document):
        if arguments == "exit()":
            sys.exit(5)
        return arguments


class BadReason(Echo):
    def call(self, arguments, document):
        if arguments == "null":
            raise ToolCallError("No way!", "No way.")
        return arguments


class Counting(Echo):
    def __init__(self):
        self.calls = 0

    def call(self, arguments, document):
        self.calls += 1
        return f"{arguments} {self.calls}"


class Numbered(Echo):
    numbers = itertools.count()

    def __init__(self):
        self.number = next(self.numbers)

    def call(self, arguments, document):
        return f"{arguments} {self.number}"


class Backwards(Echo):
    def call_batch(self, requests):
        return super().call_batch(requests)[::-1]


class Short(Echo):
    def call_batch(self, requests):
        return super().call_batch(requests)[1:]


class NeverEmpty(Echo):
    def call_batch(self, requests):
        return super().call_batch(requests) or ["nothing"]


class Bracketed(Echo):
    def call(self, arguments, document):
        return f"[{arguments}]"


class Empty(Echo):
    def call(self, arguments, document):
        return " "


class ForgetfulVersion(Echo):
    def __init__(self, times=1):
        self.times = times

    def call(self, arguments, document):
        return arguments * self.times


class ForgetfulPreselection(Echo):
    def __init__(self, is_picky=False):
        self.is_picky = is_picky

    def preselect(self, document):
        return Preselection(is_selected=not self.is_picky, reason="picky")


@pytest.mark.parametrize(
    ("tool_class", "rule"),
    [
        (OtherName, "describes itself"),
        (NoVersion, "describes itself"),
        (RandomVersion, "describes itself"),
        (NoPrompt, "prompt has the form and copies its texts"),
        (ChangedText, "prompt has the form and copies its texts"),
        (RefusesItsDemonstrations, "demonstrations are calls"),
        (Growing, "arguments survive a round trip"),
        (Quoting, "arguments survive a round trip"),
        (Markers, "garbage is refused with the right error"),
        (WrongError, "garbage is refused with the right error"),
        (LongReason, "garbage is refused with the right error"),
        (ManyLines, "garbage is refused with the right error"),
        (SlowParser, "garbage is refused with the right error"),
        (PickyPreselection, "texts are preselected"),
        (NoPreselection, "texts are preselected"),
        (Beyond, "proposals lie in their texts"),
        pytest.param(Hanging, "answers within the deadline", marks=pytest.mark.slow),
        (Crashing, "fails with the right error"),
        (Exiting, "fails with the right error"),
        (BadReason, "fails with the right error"),
        (Counting, "gives the same answer again"),
        (Numbered, "gives the same answer again"),
        (Backwards, "a batch gives what single calls give"),
        (Short, "a batch gives what single calls give"),
        (NeverEmpty, "a batch gives what single calls give"),
        (Bracketed, "answers survive cleaning"),
        (Empty, "answers survive cleaning"),
        (ForgetfulVersion, "version names what answers depend on"),
        (ForgetfulPreselection, "version names what answers depend on"),
    ],
)
def test_a_broken_tool_fails_at_its_rule(tool_class, rule):
    found = failed(made(tool_class), deadline=0.5)
    assert rule in found
    assert any(word in found[rule] for word in ("Expected", "Make ", "Name ", "Give ", "Register "))


def test_a_tool_that_cannot_run_here_is_skipped_and_says_why():
    class Gone(Echo):
        def check_available(self):
            raise ToolUnavailableError("Echo", "it is gone", "Bring it back")

    found = {each.rule: each for each in findings(made(Gone))}
    assert found["is available"].status == "skipped"
    assert "it is gone" in found["is available"].detail
    assert found["gives the same answer again"].status == "skipped"
    assert found["arguments survive a round trip"].status == "passed"
    assert not any(each.status == "failed" for each in found.values())


def test_a_tool_whose_version_names_its_settings_keeps_the_rule():
    found = {each.rule: each for each in findings(made(Calculator), {}, name="Calculator")}
    assert found["version names what answers depend on"].detail == "5 of 5 settings change it"


def test_a_tool_that_cannot_be_made_is_an_error():
    def create(given):
        raise ToolUnavailableError("Echo", "it is gone", "Bring it back")

    with pytest.raises(ToolUnavailableError):
        findings(create)
