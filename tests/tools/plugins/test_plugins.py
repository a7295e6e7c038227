"""Tools from outside: `module:Class`, and what goes wrong with them."""

import pytest

from tests.outside import ECHO
from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    PromptError,
    ToolRegistrationError,
    ToolSettingsError,
    ToolUnavailableError,
)
from tools.plugins.plugins import parse_arguments
from tools.prompting import load_prompt
from tools.protocol import Document
from tools.registry import TOOL_NAMES, check_usable, create_tool, tool_names

DOCUMENT = Document("d", "a text")
TARGETS = {"Echo": "echo_module:Echo"}


def test_the_settings_register_a_tool(outside):
    outside.module("echo_module")
    assert tool_names(TARGETS) == (*TOOL_NAMES, "Echo")
    tool = create_tool("Echo", {"times": 2}, targets=TARGETS)
    check_usable(tool, "Echo")
    assert tool.call("a", DOCUMENT) == "a a"
    assert load_prompt("Echo", own=tool.prompt).endswith("Output:")


@pytest.mark.parametrize(
    ("name", "target", "word"),
    [
        ("calculator", "m:C", "built-in"),
        ("All", "m:C", "built-in"),
        ("unit-converter", "m:C", "name"),
        ("Echo", "module.py:Echo()", "class"),
    ],
)
def test_a_registration_that_cannot_be_used_is_an_error(name, target, word):
    with pytest.raises(ToolRegistrationError, match=word):
        tool_names({name: target})


def changed(old: str, new: str) -> str:
    assert old in ECHO
    return ECHO.replace(old, new)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (
            "import os\nimport nowhere_at_all",
            r"nowhere_at_all' \(echo_module\.py:2 in <module>\)\.",
        ),
        ("def broken(:", r"SyntaxError: invalid syntax \(echo_module\.py, line 1\)\."),
        ("class Echoes: pass", "echo_module has no 'Echo'. Did you mean 'Echoes'?"),
        ("import sys\nsys.exit('gone')", "SystemExit"),
        ("def Echo(): pass", "FunctionTool"),
        ("class Echo: pass", "not a tool"),
        (changed("self.times = times", "raise OSError('no disk')"), "no disk"),
        (changed("def call", "def calls"), "abstract"),
        (changed('name = "Echo"', 'name = "Echoes"'), "Echoes"),
        (changed('description = "Repeats a word."', ""), "description"),
        (changed('self.version = f"1 times={times}"', 'self.version = ""'), "version"),
        (
            changed("def call(", "def check_available(self): raise KeyError(1)\n    def call("),
            "KeyError",
        ),
    ],
)
def test_a_module_or_tool_that_cannot_be_used_is_unavailable_and_says_why(outside, source, word):
    outside.module("echo_module", source)
    with pytest.raises(ToolUnavailableError, match=word):
        check_usable(create_tool("Echo", targets=TARGETS), "Echo")


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("f = FunctionTool.from_function(lambda: 1)", ToolSettingsError, "no docstring"),
        ("f = draft_prompt('Echo', 'Repeats.', ['no call'] * 3)", PromptError, "no call"),
    ],
)
def test_what_this_project_refuses_is_named_with_the_line_of_the_users_file(
    outside, source, error, said
):
    imports = "from tools.plugins.function_tool import FunctionTool, draft_prompt\n"
    outside.module("echo_module", f"{imports}{source}\n")
    with pytest.raises(error, match=rf"{said}.*\(echo_module\.py:2 in <module>\)"):
        create_tool("Echo", targets=TARGETS)


def test_a_class_may_take_its_name_and_a_tool_that_is_ready_has_no_settings(outside):
    source = changed("self, times: int = 1", "self, times: int = 1, name='Echo'")
    source = source.replace("self.times = times", "self.times, self.name = times, name")
    outside.module("echo_module", f"{source}\nready = Echo(3)\n")
    assert create_tool("Parrot", targets={"Parrot": "echo_module:Echo"}).name == "Parrot"
    targets = {"Echo": "echo_module:ready"}
    assert create_tool("Echo", targets=targets).call("a", DOCUMENT) == "a a a"
    with pytest.raises(ToolSettingsError, match="ready"):
        create_tool("Echo", {"times": 2}, targets=targets)


class Careless(Tool):
    """Parses as its argument says."""

    name = "Careless"

    def __init__(self, outcome):
        self.outcome = outcome

    def parse_arguments(self, text):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def call(self, arguments, document):
        return arguments


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (ValueError("x"), "parse_error"),
        (5, "parse_error"),
        ("a\nb", "parse_error"),
        ("\ud800", "parse_error"),
        ("a]", "bracket_in_arguments"),
        (CallSyntaxError("its_own", "No."), "its_own"),
    ],
)
def test_what_a_careless_tool_does_while_parsing_is_no_call(outcome, reason):
    with pytest.raises(CallSyntaxError) as caught:
        parse_arguments(Careless(outcome), "text")
    assert caught.value.reason == reason
    # That the tool is gone is no matter of the call.
    with pytest.raises(ToolUnavailableError):
        parse_arguments(Careless(ToolUnavailableError("Careless", "gone", "Bring it back")), "x")
