"""Tools from outside in settings, toolbox, plan and doctor."""

import pytest

from dagster_project.commands.doctor import examine
from tests.dagster_project.test_plan import STAGES, plan_of, store, toolbox_of
from tests.outside import ECHO
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import open_toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import Settings, merged, validated
from toolformer.settings.settings_file import preset_values
from tools.errors import PromptError, ToolSettingsError, ToolUnavailableError
from tools.prompting import load_prompt, load_short_prompt
from tools.protocol import Document
from tools.registry import TOOL_NAMES, create_tool


def settings_with(tools: dict, preset: str = "laptop") -> Settings:
    return validated(merged(preset_values(preset), {"tools": tools}), origin="the file")


ECHO_SECTION = {"class": "echo_module:Echo"}


def opened(home: Home, tools: dict, named: tuple[str, ...] | None = None):
    """The toolbox with these settings, without the tools that need more than this."""
    off = {name: {"is_enabled": False} for name in TOOL_NAMES if name != "Calculator"}
    return open_toolbox(Workspace(settings_with({**off, **tools}), home), named=named)


# Settings


def test_what_a_section_does_not_set_comes_from_the_section_for_others():
    echo = {**ECHO_SECTION, "calls_per_position": 7, "options": {"times": 2}}
    tools = settings_with({"others": {"filtering_threshold": 0.75}, "Echo": echo}).tools
    found = tools.of("Echo")
    assert (found.calls_per_position, found.options) == (7, {"times": 2})
    assert (found.filtering_threshold, found.sampling_threshold) == (0.75, 0.0005)
    assert tools.of("Elsewhere") == tools.others
    assert tools.of("Calculator").filtering_threshold == 0.5


def test_a_tool_gets_the_variables_that_its_section_names(outside, home, monkeypatch):
    told = "str(__import__('os').environ.get(arguments))"
    outside.module("echo_module", ECHO.replace('" ".join([arguments] * self.times)', told))
    monkeypatch.setenv("WEATHER_KEY", "secret")
    section = {**ECHO_SECTION, "environment": ["WEATHER_KEY"]}
    for tools, seen in (({"Echo": section}, "secret"), ({"Echo": ECHO_SECTION}, "None")):
        echo = opened(home, tools).tools["Echo"]
        assert echo.call("WEATHER_KEY", Document("d", "")) == seen
    # It is part of no setting that others share, or that a partition depends on.
    of_echo = [settings_with({"Echo": each}).tools.of("Echo") for each in (section, ECHO_SECTION)]
    assert of_echo[0] == of_echo[1]


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"Calulator": {}}, r"'tools.Calulator'.*Did you mean 'Calculator'.*needs `class:"),
        ({"Echo": {**ECHO_SECTION, "filtering_treshold": 1}}, r"Did you mean 'filtering_thres"),
        ({"Calculator": ECHO_SECTION}, "Calculator is built in and cannot be replaced"),
        ({"calculator": ECHO_SECTION}, "the name of the built-in 'Calculator'"),
        ({"my-tool": ECHO_SECTION}, "cannot be called by this name"),
        ({"Echo": {"class": "echo_module"}}, "Expected a module and a class"),
    ],
)
def test_a_mistake_in_the_section_of_a_tool_is_named(tools, message):
    with pytest.raises(SettingsError, match=message):
        settings_with(tools)


# Toolbox


def test_a_tool_from_outside_is_used_like_the_others(outside, home):
    outside.module("echo_module")
    toolbox = opened(home, {"Echo": {**ECHO_SECTION, "options": {"times": 2}}})
    assert toolbox.tools["Echo"].version == "1 times=2"
    assert toolbox.prompts["Echo"].startswith("Repeat.")
    assert list(opened(home, {"Echo": ECHO_SECTION}, named=("Echo",)).tools) == ["Echo"]


@pytest.mark.parametrize(
    ("named", "prompt"),
    [("short", load_short_prompt("Calculator")), (None, load_prompt("Calculator"))],
)
def test_the_short_prompt_is_the_one_that_is_sampled_with(home, named, prompt):
    toolbox = opened(home, {"Calculator": {"prompt": named}})
    assert toolbox.prompts == {"Calculator": prompt}


def test_a_tool_from_outside_is_used_unless_it_is_switched_off(outside, home):
    outside.module("echo_module")
    assert list(opened(home, {"Echo": ECHO_SECTION}).tools) == ["Calculator", "Echo"]
    off = {"is_enabled": False}
    assert list(opened(home, {"Echo": {**ECHO_SECTION, **off}}).tools) == ["Calculator"]
    assert list(opened(home, {"Echo": ECHO_SECTION, "others": off}).tools) == ["Calculator"]


def test_a_tool_that_cannot_be_imported_leaves_the_others_alone(outside, home):
    outside.module("echo_module", "import nowhere")
    toolbox = opened(home, {"Echo": ECHO_SECTION})
    assert list(toolbox.tools) == ["Calculator"]
    assert "No module named 'nowhere'" in toolbox.unavailable["Echo"]
    with pytest.raises(ToolUnavailableError, match="No module named 'nowhere'"):
        opened(home, {"Echo": ECHO_SECTION}, named=("Echo",))


def test_what_the_user_wrote_about_a_tool_is_an_error(outside, home, tmp_path):
    outside.module("echo_module")
    with pytest.raises(ToolSettingsError, match="'tims'"):
        opened(home, {"Echo": {**ECHO_SECTION, "options": {"tims": 2}}})
    with pytest.raises(PromptError, match=r"nowhere\.txt"):
        opened(home, {"Echo": {**ECHO_SECTION, "prompt": str(tmp_path / "nowhere.txt")}})
    # One that can be used wins over the tool's own.
    file = tmp_path / "prompt.txt"
    file.write_text("Say it.\n\nInput: A.\nOutput: [Echo(a)] A.\n\nInput: {text}\nOutput:")
    toolbox = opened(home, {"Echo": {**ECHO_SECTION, "prompt": str(file)}})
    assert toolbox.prompts["Echo"].startswith("Say it.")


def test_what_a_package_brings_along_makes_its_tool_unavailable(outside, home):
    outside.module("echo_module", ECHO.replace("Input: {text}", "Input:"))
    assert "occurs 0 times" in opened(home, {"Echo": ECHO_SECTION}).unavailable["Echo"]
    outside.module("other_module", ECHO.replace("times: int = 1", "times"))
    section = {"class": "other_module:Echo"}
    assert (
        "missing a required argument: 'times'"
        in opened(home, {"Echo": section}).unavailable["Echo"]
    )
    with pytest.raises(ToolSettingsError, match="missing a required argument: 'times'"):
        opened(home, {"Echo": section}, named=("Echo",))


# Plan


def test_a_build_plans_the_partitions_of_a_tool_from_outside(outside, warehouse):
    outside.module("echo_module")
    settings = settings_with({"Echo": ECHO_SECTION})
    toolbox = toolbox_of("Calculator")
    toolbox.tools["Echo"] = create_tool("Echo", targets=settings.tools.targets)
    toolbox.prompts["Echo"] = "a prompt"
    planned = plan_of(warehouse, settings, toolbox)
    partitions = [(each.table, each.partition_name) for each in planned]
    assert {(table, "Echo") for table in STAGES[:-1]} < set(partitions)
    store(warehouse, settings, toolbox)
    assert plan_of(warehouse, settings, toolbox) == []
    # Its decisions stay among those that are merged when it is no longer registered.
    assert plan_of(warehouse, settings_with({}), toolbox_of("Calculator")) == []


# Doctor


def test_the_doctor_examines_tools_from_outside(outside, home):
    outside.module("echo_module")
    outside.module("broken_module", "1 / 0")
    home.root.mkdir()
    home.settings_file.write_text(
        "tools:\n  Echo: {class: 'echo_module:Echo'}\n  Broken: {class: 'broken_module:Broken'}\n"
    )
    found = {each.name: each for each in examine(home)}
    assert found["tool Broken"].status == "missing"
    assert "ZeroDivisionError" in found["tool Broken"].detail
    assert not {"tool Echo", "tool Calculator"} & found.keys()
