"""The contract test: good tools keep every rule, and each broken one fails at its own."""

import itertools
import threading

import pytest

from tests.tools.test_question_answering import CANAL, FirstWordReader, FixedRetriever
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolUnavailableError
from tools.plugins.function_tool import FunctionTool
from tools.prompting import draft_prompt, load_prompt
from tools.protocol import Preselection, Proposal
from tools.registry import TOOL_NAMES, create_tool
from tools.running.contract import Trial

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
    return {rule: (status, detail) for rule, status, detail in trial.run()}


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


def test_a_good_tool_keeps_every_rule():
    found = findings(made(Echo))
    assert {status for status, _ in found.values()} == {"passed"}
    assert found == findings(made(Echo))


def broken(**changes):
    """A tool like `Echo` but for what is changed."""
    return type("Broken", (Echo,), changes)


def at(word, act):
    """A method that does something with one argument and repeats the others."""

    def method(self, arguments, *_):
        arguments = Echo.parse_arguments(self, arguments)
        return act(arguments) if arguments == word else arguments

    return method


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
    """Answers otherwise each time."""

    def __init__(self):
        self.numbers = itertools.count()

    def call(self, arguments, document):
        return f"{arguments} {next(self.numbers)}"


class Numbered(Counting):
    """Answers otherwise in each instance."""

    def __init__(self):
        self.numbers = itertools.repeat(next(NUMBERS))


class Forgetful(Echo):
    """Has a setting that its version does not name."""

    def __init__(self, times=1):
        self.times = times

    def call(self, arguments, document):
        return arguments * self.times


class Picky(Echo):
    """Takes texts by a setting that its version does not name."""

    def __init__(self, is_picky=False):
        self.is_picky = is_picky

    def preselect(self, document):
        return Preselection(is_selected=not self.is_picky, reason="picky")


NUMBERS = itertools.count()
COPIED = "Output: It says [Echo(one)] one."
CHANGED_PROMPT = str(Echo.prompt).replace(COPIED, "Output: [Echo(one)] 1.")
BATCH = Echo.call_batch


BROKEN = {
    "describes itself": [
        (broken(version=""), "its version is '', not a text"),
        (broken(prompt=None), "cannot be read"),
        (broken(prompt=CHANGED_PROMPT), "changes its text"),
        (
            broken(parse_arguments=at("one", failing(CallSyntaxError("no_one", "No.")))),
            "a call that the tool takes",
        ),
    ],
    "reads what models write": [
        (broken(parse_arguments=lambda _, text: text + "!"), "'one!'"),
        (broken(parse_arguments=lambda _, text: text), "returned '-\\n>'"),
        (broken(parse_arguments=at("tomorrow", failing(KeyError("x")))), "KeyError"),
        (broken(parse_arguments=at("tomorrow", hang)), "took longer than 0.5 s"),
    ],
    "takes any text": [
        (
            broken(preselect=lambda _, document: Preselection(document.text[0] == "A", "begins")),
            "IndexError",
        ),
        (broken(preselect=lambda *_: True), "gives True"),
        (
            broken(proposals=lambda _, document: [Proposal(len(document.text))]),
            "Expected positions in the text",
        ),
    ],
    "answers or fails rightly": [
        (broken(call=at("tomorrow", hang)), "took longer than 0.5 s"),
        (broken(call=at("tomorrow", failing(KeyError("x")))), "KeyError: 'x' (test_contract.py:"),
        (broken(call=at("exit()", failing(SystemExit(5)))), "SystemExit: 5"),
        (broken(call=lambda *_: 5), "'one' gives 5"),
        (broken(call=lambda *_: " "), "not empty"),
    ],
    "gives the same again": [
        (Counting, "from a fresh tool 'one 1"),
        (Numbered, "from a fresh tool 'one "),
        (broken(call_batch=lambda self, requests: BATCH(self, requests)[::-1]), "in a batch"),
        (broken(call_batch=lambda self, requests: BATCH(self, requests)[1:]), "one entry per call"),
    ],
    "version covers settings": [
        (broken(__init__=count_up), "for another instance"),
        (Forgetful, "version if times differs"),
        (Picky, "version if is_picky differs"),
    ],
}


@pytest.mark.parametrize(
    ("rule", "tool_class", "detail"),
    [
        pytest.param(rule, *each, marks=[pytest.mark.slow] * rule.startswith("answers"))
        for rule, cases in BROKEN.items()
        for each in cases
    ],
)
def test_a_broken_tool_fails_at_its_rule_alone_and_is_told_why(rule, tool_class, detail):
    found = findings(made(tool_class), deadline=0.5)
    assert [each for each, (status, _) in found.items() if status == "failed"] == [rule]
    assert detail in found[rule][1]


def test_what_a_tool_prepares_is_there_when_it_is_called():
    class Prepared(Echo):
        def prepare(self):
            self.answers = {}

        def call(self, arguments, document):
            return self.answers.get(arguments, arguments)

    assert failed(made(Prepared)) == []


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
    assert [status for status, _ in found.values()] == [
        *("passed", "passed", "passed", "skipped", "skipped", "passed")
    ]
    assert "it is gone" in found["answers or fails rightly"][1]
