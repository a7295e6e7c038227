"""Keys and secrets of MCP servers at an address, and their tools in a home."""

import json
import logging
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.tools.plugins.mcp_raw_server import (
    DOCUMENT,
    OTHER_SCHEMA,
    SCHEMA,
    RawServer,
    outcome,
    reply,
)
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import open_tool, open_toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.settings_file import load_settings
from tools.errors import ToolSettingsError, ToolUnavailableError
from tools.plugins.mcp_tool import MCP_TOOL
from tools.registry import TOOL_NAMES
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.isolation import IsolatedTool

pytest.importorskip("mcp", reason="needs the extra `mcp`")
KEY = "k3y-of-the-test"


def test_the_key_is_sent_and_never_shown(words, server, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    server.key = KEY
    monkeypatch.setenv("KEY_OF_THE_TEST", f"{KEY}\n")
    tool = words(key_variable="KEY_OF_THE_TEST")
    named = "key_variable=KEY_OF_THE_TEST"
    assert tool.version.startswith(f"3 url={server.url} {named} tool=count server=raw 1.0 schema=")
    assert {headers["authorization"] for _, headers in server.seen} == {f"Bearer {KEY}"}
    # A server may write back what it was sent.
    server.answers = {"tools/call": reply(error={"code": 1, "message": f"not {KEY}"})}
    assert outcome(tool).message == "Words: not …."
    refusal = {"content": [{"type": "text", "text": f"not {KEY}"}], "isError": True}
    server.answers = {"tools/call": reply(result=refusal)}
    assert outcome(tool).message == "Words: not …."
    server.answers = {"": lambda _: (307, {"location": f"http://elsewhere/{KEY}"}, b"")}
    with pytest.raises(ToolUnavailableError, match="http://elsewhere/…"):
        words(key_variable="KEY_OF_THE_TEST")
    server.answers, server.server_version, server.session = {}, KEY, 1
    with pytest.raises(ToolUnavailableError, match=r"to '.*server=raw …"):
        outcome(tool)
    assert KEY not in caplog.text


def test_an_answer_with_the_keys_letters_is_refused_and_not_cut(words, server, monkeypatch):
    monkeypatch.setenv("KEY_OF_THE_TEST", "dev")
    tool = words(key_variable="KEY_OF_THE_TEST")
    for text, expected in (("a developer", None), ("a boat", "a boat")):
        content = [{"type": "text", "text": text}]
        server.answers = {"tools/call": reply(result={"content": content})}
        result = outcome(tool)
        assert result.result == expected
    server.answers = {"tools/call": reply(result={"content": [{"type": "text", "text": "dev"}]})}
    refused = outcome(tool)
    assert (refused.reason, refused.is_permanent) == ("secret_in_answer", False)
    assert "Give the server a longer secret" in str(refused.message)
    # The server answers: it is not given up.
    limits, requests = Limits(20), [(str(number), DOCUMENT) for number in range(25)]
    assert {each.reason for each in execute_calls(tool, requests, limits=limits)} == {
        "secret_in_answer"
    }


def test_a_secret_that_json_escapes_is_found_in_structured_content_and_errors(
    words, server, monkeypatch
):
    key = 'k3y"of\\the-test'
    monkeypatch.setenv("KEY_OF_THE_TEST", key)
    tool = words(key_variable="KEY_OF_THE_TEST")
    content = {"content": [], "structuredContent": {"key": key, "mills": 7}}
    server.answers = {"tools/call": reply(result=content)}
    assert outcome(tool).reason == "secret_in_answer"
    server.answers, server.tools["count"] = {}, {"type": "array", "title": key}
    with pytest.raises(ToolUnavailableError, match="'title': '…'"):
        words(key_variable="KEY_OF_THE_TEST")


@pytest.mark.parametrize("place", ["server", "schema"])
def test_a_tool_whose_own_words_hold_the_key_is_unavailable(words, server, monkeypatch, place):
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    if place == "server":
        server.server_version = KEY
    else:
        server.tools["count"] = {**SCHEMA, "properties": {"text": {"type": "string", "title": KEY}}}
    with pytest.raises(ToolUnavailableError, match="contains a secret") as caught:
        words(key_variable="KEY_OF_THE_TEST")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", " ", f"{KEY}\nx-other: 1", f"{KEY}ß"])
def test_a_key_that_cannot_be_sent_is_told_without_it(words, server, monkeypatch, value):
    monkeypatch.delenv("KEY_OF_THE_TEST", raising=False)
    if value is not None:
        monkeypatch.setenv("KEY_OF_THE_TEST", value)
    with pytest.raises(ToolUnavailableError, match="is not set, or is not a key") as caught:
        words(key_variable="KEY_OF_THE_TEST")
    assert KEY not in str(caught.value)
    assert server.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1/mcp",
        "http://127.0.0.1/mcp?key=secret",
        "http://127.0.0.1/mcp#secret",
        "ftp://secret/mcp",
        "secret",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused_and_not_shown(words, url):
    with pytest.raises(ToolSettingsError, match="expected an address") as caught:
        words(url=url)
    assert "secret" not in str(caught.value)


def test_a_redirect_to_another_place_is_refused_and_named_without_its_secrets(words, server):
    with closing(RawServer()) as other:
        place = other.url.replace("//", "//user:secret@") + "?token=secret"
        server.answers = {"": lambda _: (307, {"location": place}, b"")}
        with pytest.raises(ToolUnavailableError) as caught:
            words()
        assert f"Redirect to {other.url} not followed" in str(caught.value)
        assert "secret" not in str(caught.value)
        server.answers = {}
        tool = words()
        server.answers = {"tools/call": lambda _: (308, {"location": place}, b"")}
        assert outcome(tool).reason == "transient_error"
        assert other.seen == []


def home_with(server, folder, more="") -> Home:
    home = Home(folder)
    home.settings_file.write_text(
        f"tools:\n  from_mcp:\n    - url: {server.url}\n      allow: [count, get-weather]\n"
        f"      key_variable: KEY_OF_THE_TEST\n{more}"
    )
    return home


def test_tools_of_a_server_run_apart_with_its_key_and_the_network(server, tmp_path, monkeypatch):
    server.key = KEY
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    home = home_with(server, tmp_path)
    settings = load_settings(home.settings_file)
    assert {"count", "get_weather"} < {*settings.tools.names}
    tool = open_tool(Workspace(settings, home), "get_weather")
    assert isinstance(tool, IsolatedTool)
    try:
        assert outcome(tool, "Paris, or Rome").result == "3"
        # A worker that is started anew finds another tool than the one of the run.
        before = tool.version
        server.tools["get-weather"] = OTHER_SCHEMA
        tool.close()
        with pytest.raises(ToolUnavailableError, match="it changed while it was in use"):
            tool.call("Paris", DOCUMENT)
        assert before != tool.version
    finally:
        tool.close()


def test_a_program_that_needs_the_network_has_it_from_its_start_on(server, tmp_path):
    address = ("127.0.0.1", server.server_port)
    program = (
        f"import socket; socket.create_connection({address}); "
        "from tests.tools.plugins.mcp_noisy_server import main; main()"
    )
    options = {
        "command": [sys.executable, "-c", program],
        "environment": {"PYTHONPATH": str(Path(__file__).parents[3])},
        "needs_network": True,
        "tool": "half",
    }
    (tmp_path / "toolformer.yaml").write_text(
        json.dumps({"tools": {"Half": {"class": MCP_TOOL, "options": options}}})
    )
    home = Home(tmp_path)
    with closing(open_tool(Workspace(load_settings(home.settings_file), home), "Half")) as tool:
        assert tool.call("10", DOCUMENT) == "5"


def test_a_tool_that_the_server_has_no_more_is_left_out_with_the_reason(
    server, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    others = "".join(f"  {name}: {{is_enabled: false}}\n" for name in TOOL_NAMES)
    examples = [f"In {city} [get_weather({city})] it rains." for city in ("A", "B", "C")]
    section = f"  get_weather:\n    options: {{examples: {json.dumps(examples)}}}\n"
    home = home_with(server, tmp_path, others + section)
    server.tools.pop("count")
    toolbox = open_toolbox(Workspace(load_settings(home.settings_file), home))
    tool = toolbox.tools["get_weather"]
    assert isinstance(tool, IsolatedTool)
    tool.close()
    assert "In B [get_weather(B)] it rains." in str(toolbox.prompts["get_weather"])
    assert "no tool 'count'. It has get-weather" in toolbox.unavailable["count"]
