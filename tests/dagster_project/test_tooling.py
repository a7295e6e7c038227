"""`toolformer tools list`, `try` and `check`."""

import json
import shlex
from contextlib import closing

import pytest

from dagster_project.commands.doctor import examine
from dagster_project.commands.tools import contract_trial
from tests.conftest import REPOSITORY
from tests.tools.plugins.mcp_raw_server import SCHEMA, RawServer
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.settings_file import load_settings

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

ECHO_SECTION = "tools:\n  Echo: {class: 'echo_module:Echo'}\n"


def write_settings(home: Home, text: str) -> None:
    home.root.mkdir(exist_ok=True)
    home.settings_file.write_text(text)


def line_of(out: str, name: str) -> str:
    (line,) = [each for each in out.splitlines() if each.startswith(f"│ {name} ")]
    return line


def test_tools_from_outside_are_listed_with_their_origin(run, home, outside):
    outside.module("echo_module")
    outside.module("broken_module", "1 / 0")
    broken = "  Broken: {class: 'broken_module:Broken'}\n"
    write_settings(home, f"{ECHO_SECTION}{broken}  Off: {{class: 'x:Off', is_enabled: false}}\n")
    code, out, _ = run("tools", "list")
    assert code == 0
    assert "available" in line_of(out, "Echo")
    assert "unavailable" not in line_of(out, "Echo")
    assert "its own" in line_of(out, "Echo")
    assert "built in" in line_of(out, "Calculator")
    assert "disabled" in line_of(out, "Off")
    assert "ZeroDivisionError" in " ".join(out.split())
    assert "echo_module:Echo" in line_of(out, "Echo")


LEFT_OUT = """
from tools.plugins.function_tool import FunctionTool

PROPERTIES = {"text": {"type": "string"}, "tags": {"type": "array"}}
Half = FunctionTool(
    name="Half",
    description="Halves.",
    schema={"type": "object", "properties": PROPERTIES, "required": ["text"]},
    function=lambda text: text[: len(text) // 2],
    version="1",
    examples=[f"It is [Half({word})] so." for word in ("abcd", "efgh", "ijkl")],
)
"""


def test_optional_parameters_that_no_call_can_give_are_named(run, home, outside):
    outside.module("half_module", LEFT_OUT)
    write_settings(home, "tools:\n  Half: {class: 'half_module:Half'}\n")
    states = {row["tool"]: row["state"] for row in json.loads(run("tools", "list", "--json").out)}
    assert states["Half"] == "available, but calls cannot set tags"
    assert "calls cannot set tags" in run("tools", "check", "Half").out


def test_a_call_is_made_and_printed_with_its_result(run, home, outside):
    write_settings(home, ECHO_SECTION)
    outside.module("echo_module")
    friday = "[Calendar() -> Today is Friday, May 3, 2024.]"
    for arguments, printed in (
        (["Calculator", "6  * 7"], "[Calculator(6 * 7) -> 42]"),
        (["Calculator", "-6 * 7"], "[Calculator(-6 * 7) -> -42]"),
        (["Calendar", "--today", "2024-05-03"], friday),
        (["Echo", "'a word'"], "[Echo(a word) -> a word]"),
    ):
        assert run("tools", "try", *arguments) == (0, f"{printed}\n", "")


def test_a_refused_call_is_printed_with_what_the_tool_says(run, home):
    code, out, _ = run("tools", "try", "Calculator", "1 / 0")
    said = "The expression divides by zero. Expected another divisor."
    assert (code, out) == (1, f"[Calculator(1 / 0) ->] has no result: division_by_zero: {said}\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {}[arguments]", "Echo: KeyError: 'a word' (echo_module.py:3 in call)"),
        ("return 5", "The tool answered with int. Expected text (str)."),
        ("return ' ' + chr(0x200B)", "empty_result: The answer is empty."),
        ("import os; os._exit(3)", "process_ended: "),
        ("import time; time.sleep(60)", "longer than 1 s"),
    ],
)
def test_a_call_that_goes_wrong_is_told_in_the_tools_own_words(run, home, outside, body, said):
    source = f"from tests.outside import ECHO\nexec(ECHO)\ndef call(self, arguments, _): {body}\n"
    outside.module("echo_module", f"{source}Echo.call = call\n")
    write_settings(home, f"execution: {{deadline_seconds: 1}}\n{ECHO_SECTION}")
    code, out, _ = run("tools", "try", "Echo", "a word")
    assert code == 1
    assert out.startswith("[Echo(a word) ->] has no result: ")
    assert said in out


def test_one_tool_with_a_wrong_option_hides_no_other(run, home, outside):
    outside.module("echo_module")
    write_settings(home, "tools:\n  Echo: {class: 'echo_module:Echo', options: {tims: 2}}\n")
    code, out, _ = run("tools", "list")
    assert code == 0
    assert "available" in line_of(out, "Calculator")
    assert "unexpected keyword argument 'tims'. Its settings: times." in " ".join(out.split())


def test_a_tool_that_cannot_be_tried_is_an_error(run, home, outside):
    write_settings(home, ECHO_SECTION)
    outside.module("echo_module", "import nowhere")
    for arguments, message in (
        (["try", "Calulator"], "Did you mean 'Calculator'"),
        (["check", "Calulator"], "Did you mean 'Calculator'"),
        (["try", "Echo"], "'nowhere'"),
        (["check", "Echo"], "'nowhere'"),
        (["try", "QA", "who"], "unavailable"),
    ):
        assert run("tools", *arguments).is_one_paragraph_naming(message)
    code, _, err = run("tools", "try", "Calendar", "--today", "3 May")
    assert (code, "3 May" in err) == (2, True)


def test_a_tool_is_checked_with_the_options_that_a_run_gives_it(run, home):
    write_settings(home, "preset: demo\n")
    code, out, _ = run("tools", "check", "Facts")
    assert code == 0
    # Its table comes with the project, under a name that is no file.
    assert "passed  answers or fails rightly: " in out
    assert " aliases=" in out


def test_the_commands_of_the_how_to_take_the_tools_of_a_server(run, home, monkeypatch):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    page = (REPOSITORY / "docs" / "how-to" / "tools.md").read_text("utf-8")
    section = page[page.index("## Take the tools of an MCP server") :]
    settings, commands = (
        section.split(f"```{language}\n")[1].split("```")[0] for language in ("yaml", "bash")
    )
    monkeypatch.setenv("WEATHER_KEY", "the key")
    with closing(RawServer()) as server:
        server.key = "the key"
        server.tools = dict.fromkeys(("count_words", "get-weather"), SCHEMA)
        write_settings(home, settings.replace("http://localhost:8931/mcp", server.url))
        *commands, check = [shlex.split(line, comments=True)[1:] for line in commands.splitlines()]
        (code, listed, _), (_, tried, _) = [run(*command) for command in commands]
        rules = [
            *contract_trial(check[-1], Workspace(load_settings(home.settings_file), home)).run()
        ]
        wrong = {each.name for each in examine(home)}
    assert code == 0
    assert "available" in line_of(listed, "count_words")
    assert "The prompt of get_weather cannot be read" in line_of(listed, "get_weather")
    assert tried == "[count_words(all for one) -> 3]\n"
    assert {status for _, status, _ in rules} == {"passed"}, rules
    assert not {"tool count_words", "tool get_weather"} & wrong
