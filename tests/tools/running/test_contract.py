"""The contract test: good tools keep every rule, and each broken one fails at its own."""

import itertools
import threading
from functools import partial

import pytest

from tests.tools.test_question_answering import CANAL, FirstWordReader, FixedRetriever
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError, ToolUnavailableError
from tools.plugins.function_tool import FunctionTool
from tools.prompting import draft_prompt, load_prompt
from tools.protocol import Preselection, Proposal
from tools.registry import TOOL_NAMES, create_tool
from tools.running.contract import check_contract
from tools.running.trial import Trial

EXAMPLES = [
    "It says [Echo(one)] one.",
    "It says [Echo(two words)] two words.",
    "It says [Echo(three)] three.",
]


class Echo(Tool):
    """Repeats its arguments; subclasses break one rule each."""

    name = "Echo"
    version = "1"
    description = "Repeats a word."
    prompt = draft_prompt("Echo", "Repeats a word.", EXAMPLES)

    def call(self, arguments, document):
        return arguments[:50]


def findings(create, *, name="Echo", deadline=10.0):
    """Status and detail by rule."""
    trial = Trial(
        name,
        create,
        {},
        read_prompt=lambda tool: load_prompt(name, own=tool.prompt),
        deadline_seconds=deadline,
    )
    return {each.rule: (each.status, each.detail) for each in check_contract(trial)}


def failed(create, **options):
    found = findings(create, **options)
    return [rule for rule, (status, _) in found.items() if status == "failed"]


def made(tool_class):
    return lambda given: tool_class(**given)


@pytest.mark.parametrize("name", [name for name in TOOL_NAMES if name != "WikiSearch"])
def test_the_built_in_tools_keep_the_contract(name):
    of_home = {"QA": {"retriever": FixedRetriever(CANAL), "reader": FirstWordReader()}}
    settings = of_home.get(name, {})
    assert failed(lambda given: create_tool(name, {**settings, **given}), name=name) == []


def test_a_good_tool_keeps_every_rule_and_without_settings_there_is_nothing_to_change():
    found = findings(made(Echo))
    assert len(found) == 13
    assert {rule for rule, (status, _) in found.items() if status != "passed"} == {
        *("version names what answers depend on", "proposals lie in their texts"),
    }


def broken(**changes):
    """A tool like `Echo` but for what is changed."""
    return type("Broken", (Echo,), changes)


def at(word, act):
    """A method that does something with one argument and repeats the others."""
    return lambda self, arguments, *_: act(arguments) if arguments == word else arguments


def failing(error):
    def fail(arguments):
        raise error

    return fail


def hang(arguments):
    threading.Event().wait(10)
    return arguments


def count_up(self):
    self.version = str(next(NUMBERS))


class Counting(Echo):
    """Answers otherwise each time, within an instance or in each."""

    def __init__(self, *, is_of_instance=True):
        self.numbers = itertools.count() if is_of_instance else itertools.repeat(next(NUMBERS))

    def call(self, arguments, document):
        return f"{arguments} {next(self.numbers)}"


class ForgetfulVersion(Echo):
    """Has settings that its version does not name."""

    def __init__(self, times=1, is_picky=False):
        self.times, self.is_picky = times, is_picky

    def call(self, arguments, document):
        return arguments * self.times

    def preselect(self, document):
        return Preselection(is_selected=not self.is_picky, reason="picky")


NUMBERS = itertools.count()
COPIED = "Output: It says [Echo(one)] one."
CHANGED_PROMPT = str(Echo.prompt).replace(COPIED, "Output: [Echo(one)] 1.")
BATCH = Echo.call_batch


BROKEN = {
    "describes itself": [broken(version=""), broken(__init__=count_up)],
    "prompt has the form and copies its texts": [
        broken(prompt=None),
        broken(prompt=CHANGED_PROMPT),
    ],
    "demonstrations are calls": [
        broken(parse_arguments=at("one", failing(CallSyntaxError("no_one", "No.")))),
    ],
    "arguments survive a round trip": [broken(parse_arguments=lambda _, text: text + "!")],
    "garbage is refused with the right error": [
        broken(parse_arguments=lambda _, text: " ".join(text.split()) or "nothing"),
        broken(parse_arguments=at("tomorrow", failing(KeyError("x")))),
        broken(parse_arguments=at("tomorrow", hang)),
    ],
    "texts are preselected": [
        broken(preselect=lambda _, document: Preselection(document.text[0] == "A", "begins")),
        broken(preselect=lambda *_: True),
    ],
    "proposals lie in their texts": [
        broken(proposals=lambda _, document: [Proposal(len(document.text))]),
    ],
    "answers in time, or fails with the right error": [
        broken(call=at("tomorrow", hang)),
        broken(call=at("tomorrow", failing(KeyError("x")))),
        broken(call=at("exit()", failing(SystemExit(5)))),
        broken(call=at("null", failing(ToolCallError("N!", "N.")))),
    ],
    "gives the same answer again": [Counting, partial(Counting, is_of_instance=False)],
    "a batch gives what single calls give": [
        broken(call_batch=lambda self, requests: BATCH(self, requests)[::-1]),
        broken(call_batch=lambda self, requests: BATCH(self, requests)[1:]),
        broken(call_batch=lambda self, requests: BATCH(self, requests) or ["nothing"]),
    ],
    "answers survive cleaning": [broken(call=lambda *_: " ")],
    "version names what answers depend on": [ForgetfulVersion],
}


@pytest.mark.parametrize(
    ("rule", "tool_class"),
    [
        pytest.param(rule, each, marks=[pytest.mark.slow] * rule.startswith("answers in time"))
        for rule, classes in BROKEN.items()
        for each in classes
    ],
)
def test_a_broken_tool_fails_at_its_rule(rule, tool_class):
    assert rule in failed(made(tool_class), deadline=0.5)


def test_a_function_tool_keeps_the_contract():
    def double(number: float, times: int = 1, loud: bool = False) -> float:
        """Doubles a number."""
        return number * 2**times if times < 100 else 0.0

    examples = [f"Twice {n} is [double({n})] {2 * n}." for n in (1, 2, 3)]
    tool = FunctionTool.from_function(double, examples=examples, version="1")
    assert failed(lambda given: tool, name="double") == []


def test_a_tool_that_cannot_run_here_is_skipped_and_says_why():
    class Gone(Echo):
        def check_available(self):
            raise ToolUnavailableError("Echo", "it is gone", "Bring it back")

    found = findings(made(Gone))
    status, detail = found["is available"]
    assert status == "skipped"
    assert "it is gone" in detail
    assert found["gives the same answer again"][0] == "skipped"
    assert found["arguments survive a round trip"][0] == "passed"
    assert "failed" not in {status for status, _ in found.values()}
