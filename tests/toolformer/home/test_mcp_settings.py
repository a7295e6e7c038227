"""`tools.from_mcp`: tools of a server become sections like those written by hand."""

import traceback

import pytest

from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import merged, validated
from toolformer.settings.settings_file import load_settings, preset_values
from toolformer.settings.tool_sections import ToolsSettings
from tools.plugins.mcp_tool import MCP_TOOL

URL = "http://localhost:8931/mcp"


def tools_with(*servers, **sections) -> ToolsSettings:
    given = {"tools": {"from_mcp": list(servers), **sections}}
    return validated(merged(preset_values("laptop"), given), origin="here").tools


def test_each_tool_of_a_server_has_a_section_and_its_own_goes_before():
    tools = tools_with(
        {"url": URL, "key_variable": "KEY", "allow": ["get-weather", "files.read", "2nd"]},
        {"command": ["python", "server.py"], "allow": ["Count"], "start_seconds": 90},
        get_weather={"filtering_threshold": 0.2, "options": {"seconds": 5, "examples": ["a"]}},
    )
    assert {name for name in tools.names if name in tools.targets} == {
        *("get_weather", "files_read", "_2nd", "Count")
    }
    assert set(tools.targets.values()) == {MCP_TOOL}
    of_server = {"url": URL, "key_variable": "KEY"}
    own = {"seconds": 5, "examples": ["a"]}
    assert tools.of("get_weather").options == {**of_server, "tool": "get-weather", **own}
    assert tools.of("get_weather").filtering_threshold == 0.2
    assert tools.of("files_read").options == {**of_server, "tool": "files.read"}
    assert tools.of("files_read").filtering_threshold == tools.others.filtering_threshold
    assert tools.of("Count").options == {
        "command": ["python", "server.py"],
        "tool": "Count",
        "start_seconds": 90.0,
    }
    # Its process gets the key, also where the section is written by hand.
    assert tools.environment_of("files_read") == ("KEY",)
    assert tools.environment_of("Count") == ()
    by_hand = {"class": MCP_TOOL, "environment": ["MORE"], "options": {"key_variable": "KEY"}}
    assert tools_with(Hand=by_hand).environment_of("Hand") == ("MORE", "KEY")


@pytest.mark.parametrize(
    ("allow", "sections"),
    [
        (["calculator"], {}),
        (["all"], {}),
        (["get-weather", "get_weather"], {}),
        (["Count", "count"], {}),
        (["Facts"], {"Facts": {"class": "a:B"}}),
        (["Facts"], {"facts": {"class": "a:B"}}),
    ],
)
def test_a_name_that_is_taken_is_an_error_that_says_how_to_give_another(allow, sections):
    with pytest.raises(SettingsError) as caught:
        tools_with({"url": URL, "allow": allow}, **sections)
    assert f"the name {allow[-1]!r} is taken; leave {allow[-1]!r} out here" in str(caught.value)
    assert f"with another name and `class: {MCP_TOOL}`" in str(caught.value)


def test_tools_of_two_servers_have_names_of_their_own():
    with pytest.raises(SettingsError, match=r"from_mcp\.1\.allow .* the name 'Count' is taken"):
        tools_with({"url": URL, "allow": ["Count"]}, {"command": ["a"], "allow": ["Count"]})


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"url": URL}, "from_mcp.0.allow = … is not valid: field required"),
        ({"url": URL, "allow": []}, "at least 1 item"),
        ({"url": URL, "allow": [5]}, "valid string"),
        ({"url": URL, "allow": "count"}, "expected a list, such as"),
        ({"url": URL, "allowed": ["count"]}, "Did you mean 'allow'?"),
        ({"url": "http://u:s3cret@localhost/mcp", "allow": ["a"]}, "expected an address"),
        ({"url": "http://localhost/mcp?key=s3cret"}, "expected an address"),
        (
            {"url": URL, "key_variable": "s3cret", "allow": ["a"]},
            "key_variable = … is not valid: string should match pattern '^[A-Z]",
        ),
        (5, "from_mcp.0 = …"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_without_what_may_be_a_secret(server, said):
    with pytest.raises(SettingsError) as caught:
        tools_with(server)
    assert said in str(caught.value)
    # A run logs the causes too.
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("section", [5, {"options": 5}])
def test_a_section_that_is_none_is_told_as_that_of_any_tool(section):
    with pytest.raises(SettingsError, match=r"'tools\.count'"):
        tools_with({"url": URL, "allow": ["count"]}, count=section)


def test_servers_are_taken_from_the_file_alone_and_thresholds_may_change_for_a_run(tmp_path):
    file = tmp_path / "toolformer.yaml"
    file.write_text(f"tools: {{from_mcp: [{{url: '{URL}', allow: [count]}}]}}\n")
    changed = load_settings(file, overrides={"tools": {"count": {"filtering_threshold": 3}}})
    assert changed.tools.of("count").filtering_threshold == 3
    assert changed.tools.of("count").options["url"] == URL
    other = {"url": "http://u:s3cret@elsewhere/mcp", "allow": ["count"]}
    for override in ({"from_mcp": [other]}, {"count": {"options": {"url": "http://elsewhere"}}}):
        with pytest.raises(SettingsError, match="could name code or a program to run") as caught:
            load_settings(file, overrides={"tools": override})
        assert "s3cret" not in str(caught.value)
