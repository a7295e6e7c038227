"""Tools from outside: entry points, `module:Class`, and what goes wrong with them."""

import pytest

from tests.outside import ECHO
from tools.base import Tool
from tools.calculator import Calculator
from tools.errors import (
    CallSyntaxError,
    ToolRegistrationError,
    ToolSettingsError,
    ToolUnavailableError,
)
from tools.plugins.plugins import parse_arguments
from tools.prompting import load_prompt
from tools.protocol import Document
from tools.registry import (
    TOOL_NAMES,
    check_usable,
    create_tool,
    origin_of,
    tool_names,
)

DOCUMENT = Document("d", "a text")
TARGETS = {"Echo": "echo_module:Echo"}


def test_an_installed_package_registers_a_tool_by_an_entry_point(outside):
    outside.module("echo_module")
    outside.package("echo-tools", {"Echo": "echo_module:Echo"})
    assert tool_names() == (*TOOL_NAMES, "Echo")
    assert origin_of("Echo") == "echo_module:Echo (package echo-tools 1.0)"
    tool = create_tool("Echo", {"times": 2})
    check_usable(tool, "Echo")
    assert tool.call("a", DOCUMENT) == "a a"
    assert load_prompt("Echo", own=tool.prompt).endswith("Output:")


def test_the_settings_register_a_tool_by_module_and_class(outside):
    outside.module("echo_module")
    assert tool_names(TARGETS) == (*TOOL_NAMES, "Echo")
    assert tool_names() == TOOL_NAMES
    assert origin_of("Echo", targets=TARGETS) == "echo_module:Echo (the settings)"
    assert create_tool("Echo", targets=TARGETS).call("a", DOCUMENT) == "a"


def test_the_settings_win_over_an_entry_point(outside):
    outside.module("echo_module")
    outside.package("other-tools", {"Echo": "nowhere:Echo"})
    assert create_tool("Echo", targets=TARGETS).name == "Echo"


@pytest.mark.parametrize(
    ("name", "target", "word"),
    [
        ("calculator", "m:C", "built-in"),
        ("All", "m:C", "built-in"),
        ("unit-converter", "m:C", "name"),
        ("2nd", "m:C", "name"),
        ("Echo", "module", "class"),
        ("Echo", "module.py:Echo()", "class"),
    ],
)
def test_a_registration_that_cannot_be_used_is_an_error(name, target, word):
    with pytest.raises(ToolRegistrationError, match=word):
        tool_names({name: target})


def test_two_packages_cannot_register_different_tools_under_one_name(outside):
    outside.package("echo-tools", {"Echo": "a:Echo"})
    outside.package("other-tools", {"Echo": "b:Echo"})
    with pytest.raises(ToolRegistrationError, match="twice"):
        tool_names()
    assert "Echo" in tool_names(TARGETS)


def changed(old: str, new: str) -> str:
    assert old in ECHO
    return ECHO.replace(old, new)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import nowhere_at_all", "nowhere_at_all"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
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


def test_a_class_that_takes_a_name_gets_the_registered_one(outside):
    source = changed("self, times: int = 1", "self, name, times: int = 1")
    outside.module("echo_module", source.replace("self.times = times", "self.name = name"))
    tool = create_tool("Parrot", targets={"Parrot": "echo_module:Echo"})
    assert tool.name == "Parrot"


def test_a_tool_that_is_ready_is_taken_as_it_is_and_has_no_settings(outside):
    outside.module("echo_module", f"{ECHO}\nready = Echo(3)\n")
    targets = {"Echo": "echo_module:ready"}
    assert create_tool("Echo", targets=targets).call("a", DOCUMENT) == "a a a"
    with pytest.raises(ToolSettingsError, match="ready"):
        create_tool("Echo", {"times": 2}, targets=targets)


class Careless(Tool):
    """Parses as its argument says."""

    name = "Careless"
    version = "1"
    description = "Does not care."

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
        (None, "parse_error"),
        (5, "parse_error"),
        ("a\nb", "parse_error"),
        ("\ud800", "parse_error"),
        ("a]", "bracket_in_arguments"),
        ("a -> b", "arrow_in_arguments"),
        (CallSyntaxError("its_own", "No."), "its_own"),
    ],
)
def test_what_a_careless_tool_does_while_parsing_is_no_call(outcome, reason):
    with pytest.raises(CallSyntaxError) as caught:
        parse_arguments(Careless(outcome), "text")
    assert caught.value.reason == reason


def test_what_is_parsed_is_handed_on_and_that_a_tool_is_gone_too():
    assert parse_arguments(Calculator(), " 1  + 1 ") == "1 + 1"
    with pytest.raises(ToolUnavailableError):
        parse_arguments(Careless(ToolUnavailableError("Careless", "gone", "Bring it back")), "x")
