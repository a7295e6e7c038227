"""Tools from outside: entry points, `module:Class`, and what goes wrong with them."""

import subprocess
import sys

import pytest

from tests.outside import ECHO
from tools.base import Tool
from tools.calculator import Calculator
from tools.errors import (
    CallSyntaxError,
    ToolRegistrationError,
    ToolSettingsError,
    ToolUnavailableError,
    UnknownToolError,
)
from tools.plugins.plugins import parse_arguments
from tools.prompting import load_prompt
from tools.protocol import Document
from tools.registry import (
    TOOL_NAMES,
    check_tool_name,
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


def test_listing_tools_imports_none_of_them(outside):
    outside.module("echo_module", "raise RuntimeError('imported')")
    outside.package("echo-tools", {"Echo": "echo_module:Echo"})
    code = (
        "import sys; from tools.registry import tool_names, origin_of, check_tool_name;"
        "assert 'Echo' in tool_names(); check_tool_name('Echo'); origin_of('Echo');"
        "assert 'echo_module' not in sys.modules"
    )
    path = [str(outside.folder), *sys.path]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {code}"], check=True
    )


def test_an_unknown_name_is_compared_with_plugins_too(outside):
    outside.package("echo-tools", {"Echo": "echo_module:Echo"})
    with pytest.raises(UnknownToolError, match=r"'Eco'\. Did you mean 'Echo'\? .*Calendar, Echo\."):
        check_tool_name("Eco")
    check_tool_name("Other", targets={"Other": "m:Other"})


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("Calculator", "m:C", "the built-in 'Calculator', which cannot be replaced"),
        ("calculator", "m:C", "the built-in 'Calculator'"),
        ("All", "m:C", "the built-in 'all'"),
        ("unit-converter", "m:C", "cannot be called by this name"),
        ("2nd", "m:C", "cannot be called by this name"),
        ("Ünit", "m:C", "cannot be called by this name"),
        ("Echo", "module", "Expected a module and a class"),
        ("Echo", "module.py:Echo()", "Expected a module and a class"),
        ("Echo", "a b:Echo", "Expected a module and a class"),
    ],
)
def test_a_registration_that_cannot_be_used_is_an_error(name, target, message):
    with pytest.raises(ToolRegistrationError, match=message) as caught:
        tool_names({name: target})
    assert isinstance(caught.value, ValueError)
    assert "settings" in str(caught.value)


def test_an_entry_point_with_the_name_of_a_built_in_tool_names_its_package(outside):
    outside.package("cheap-tools", {"Calendar": "m:C"})
    with pytest.raises(ToolRegistrationError, match=r"cheap-tools 1\.0.*uninstall its package"):
        tool_names()


def test_two_packages_cannot_register_different_tools_under_one_name(outside):
    outside.package("echo-tools", {"Echo": "a:Echo"})
    outside.package("other-tools", {"Echo": "b:Echo"})
    with pytest.raises(ToolRegistrationError, match=r"twice: as a:Echo by package echo-tools 1\.0"):
        tool_names()
    assert "Echo" in tool_names(TARGETS)


def test_two_packages_may_register_the_same_tool(outside):
    outside.package("echo-tools", {"Echo": "a:Echo"})
    outside.package("echo-extra", {"Echo": "a:Echo"})
    assert tool_names().count("Echo") == 1


@pytest.mark.parametrize(
    ("source", "reason", "remedy"),
    [
        ("import nowhere_at_all", "No module named 'nowhere_at_all'", "Install"),
        ("from tools.base import Nothing", "cannot import name 'Nothing'", "Install"),
        ("1 / 0", "ZeroDivisionError: division by zero", "Correct the tool"),
        ("def broken(:", "SyntaxError", "Correct the tool"),
        ("import sys\nsys.exit('gone')", "SystemExit: gone", "Correct the tool"),
        ("x = 1", "has no attribute 'Echo'", "Correct the tool"),
        ("def Echo(): pass", "is function 'Echo', not a tool", "FunctionTool"),
        ("class Echo: pass", "not a tool", "Derive the class from"),
        ("Echo = 5", "is int 5, not a tool", "Derive the class from"),
    ],
)
def test_a_module_that_cannot_be_used_makes_its_tool_unavailable(outside, source, reason, remedy):
    outside.module("echo_module", source)
    with pytest.raises(ToolUnavailableError) as caught:
        create_tool("Echo", targets=TARGETS)
    assert reason in caught.value.reason
    assert remedy in caught.value.remedy
    assert not caught.value.remedy.endswith(".")


def test_a_module_that_is_not_there_says_where_to_put_it():
    with pytest.raises(ToolUnavailableError, match=r"No module named 'nowhere'.*PYTHONPATH"):
        create_tool("Echo", targets={"Echo": "nowhere.deep:Echo"})


def changed(old: str, new: str) -> str:
    assert old in ECHO
    return ECHO.replace(old, new)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (changed('name = "Echo"', 'name = "Echoes"'), "it calls itself 'Echoes'"),
        (changed('description = "Repeats a word."', ""), "its description is None"),
        (changed('self.version = f"1 times={times}"', 'self.version = ""'), "its version is ''"),
        (
            changed("def call(", "def check_available(self): raise KeyError(1)\n    def call("),
            "failed with KeyError",
        ),
    ],
)
def test_a_tool_that_does_not_describe_itself_is_unavailable(outside, source, reason):
    outside.module("echo_module", source)
    tool = create_tool("Echo", targets=TARGETS)
    with pytest.raises(ToolUnavailableError) as caught:
        check_usable(tool, "Echo")
    assert reason in caught.value.reason


def test_a_constructor_that_fails_makes_the_tool_unavailable(outside):
    outside.module("echo_module", changed("self.times = times", "raise OSError('no disk')"))
    with pytest.raises(ToolUnavailableError, match="OSError: no disk"):
        create_tool("Echo", targets=TARGETS)
    outside.module("abstract_module", changed("def call", "def calls"))
    with pytest.raises(ToolUnavailableError, match="abstract"):
        create_tool("Echo", targets={"Echo": "abstract_module:Echo"})


def test_settings_of_a_plugin_are_checked_like_others(outside):
    outside.module("echo_module")
    with pytest.raises(ToolSettingsError, match=r"no setting 'tims'\. Did you mean 'times'"):
        create_tool("Echo", {"tims": 2}, targets=TARGETS)


def test_a_class_that_takes_a_name_gets_the_registered_one(outside):
    source = changed("self, times: int = 1", "self, name, times: int = 1")
    outside.module("echo_module", source.replace("self.times = times", "self.name = name"))
    tool = create_tool("Parrot", targets={"Parrot": "echo_module:Echo"})
    assert tool.name == "Parrot"


def test_a_tool_that_is_ready_is_taken_as_it_is_and_has_no_settings(outside):
    outside.module("echo_module", f"{ECHO}\nready = Echo(3)\n")
    targets = {"Echo": "echo_module:ready"}
    assert create_tool("Echo", targets=targets).call("a", DOCUMENT) == "a a a"
    with pytest.raises(ToolSettingsError, match="is a tool that is ready"):
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


@pytest.mark.parametrize("outcome", [ValueError("x"), KeyError("x"), None, 5, "a\nb", "\ud800"])
def test_what_a_careless_tool_does_while_parsing_is_no_call(outcome):
    with pytest.raises(CallSyntaxError) as caught:
        parse_arguments(Careless(outcome), "text")
    assert caught.value.reason == "parse_error"


def test_markers_that_a_careless_tool_lets_through_are_no_call():
    for outcome, reason in (("a]", "bracket_in_arguments"), ("a -> b", "arrow_in_arguments")):
        with pytest.raises(CallSyntaxError) as caught:
            parse_arguments(Careless(outcome), "text")
        assert caught.value.reason == reason


def test_what_a_tool_parses_or_refuses_is_handed_on():
    assert parse_arguments(Calculator(), " 1  + 1 ") == "1 + 1"
    with pytest.raises(CallSyntaxError) as caught:
        parse_arguments(Calculator(), " ")
    assert caught.value.reason == "empty_arguments"
    with pytest.raises(ToolUnavailableError):
        parse_arguments(Careless(ToolUnavailableError("Careless", "gone", "Bring it back")), "x")
