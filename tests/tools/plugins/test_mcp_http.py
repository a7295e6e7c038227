"""Tools of MCP servers at an address: an official one, and one that does what none should."""

import gc
import socket
import threading
import time
import weakref
from contextlib import closing

import pytest

from tests.tools.plugins.mcp_example_server import count_words, nothing
from tests.tools.plugins.mcp_raw_server import DOCUMENT, JSON, OTHER_SCHEMA, SCHEMA, outcome, reply
from tools.errors import ToolSettingsError, ToolUnavailableError
from tools.plugins.mcp_tool import McpTool

pytest.importorskip("mcp", reason="needs the extra `mcp`")
HTML = {"content-type": "text/html"}
EVENTS = {"content-type": "text/event-stream"}
REFUSAL = reply(result={"content": [{"type": "text", "text": "no"}], "isError": True})


def test_a_tool_of_an_official_server_answers_as_one_over_streams():
    import uvicorn
    from mcp.server.mcpserver import MCPServer

    app = MCPServer("examples", version="1.2")
    app.tool()(count_words)
    app.tool()(nothing)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    config = uvicorn.Config(app.streamable_http_app(), log_level="critical", ws="none")
    serving = uvicorn.Server(config)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        with closing(McpTool("Words", "count_words", url=url)) as tool:
            assert f"url={url} tool=count_words server=examples 1.2 schema=" in tool.version
            assert tool.description == "Counts the words of a text."
            assert tool.needs_network
            assert tool.parse_arguments("text = one two,  at_least=01") == "one two, 1"
            results = [outcome(tool, text) for text in ("a b c", "one, at_least=5")]
            assert [each.result or each.reason for each in results] == ["3", "refused_by_server"]
        with closing(McpTool("Nothing", "nothing", url=url)) as tool:
            assert outcome(tool, "").reason == "no_answer"
    finally:
        serving.should_exit = True
        thread.join()


FAULTS = {
    "unauthorized": ((401, HTML, b"<h1>no</h1>"), "it answered 401 Unauthorized: "),
    "broken": ((500, HTML, b"oops"), "it answered 500 Internal Server Error: "),
    "error in JSON": (
        (500, JSON, b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}}'),
        "it answered 500 Internal Server Error: no",
    ),
    "bad request": ((400, HTML, b"<h1>no</h1>"), "it answered 400 Bad Request: "),
    "other JSON": ((422, JSON, b'{"detail": "no"}'), "it answered 422 Unprocessable Entity"),
    "another method": ((405, {}, b""), "it answered 405 Method Not Allowed"),
    "gone": ((404, {}, b""), "it answered 404 Not Found"),
    "a page": ((200, HTML, b"<html><h1>Log in"), "Unexpected content type: text/html"),
    "garbage": ((200, JSON, b"{]"), "Failed to parse JSON response"),
    "no message": ((200, JSON, b"7"), "Failed to parse JSON response"),
    "nothing": ((202, {}, b""), "server answered a request with 202 Accepted"),
    "no event": ((200, EVENTS, b"data: hello\n\n"), "Failed to parse SSE message"),
    "no more events": ((200, EVENTS, b""), "SSE stream ended without a response"),
    "redirect by GET": ((302, {"location": "/x"}, b""), "/x not followed"),
    "no redirect": ((307, {"location": "http://[::1"}, b""), "Unexpected content type"),
    "steering": ((200, {"content-type": "\x1b[2J"}, b""), r"Unexpected content type: \x1b[2j"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_answer_is_said_in_a_sentence_and_is_no_refusal_for_ever(words, server, fault):
    answer, said = FAULTS[fault]
    server.answers = {"": lambda _: answer}
    with pytest.raises(ToolUnavailableError) as caught:
        words()
    assert caught.value.reason.startswith(f"the server at {server.url} failed: ")
    assert said in caught.value.reason
    assert "\n" not in caught.value.reason
    assert "speaks streamable HTTP (not SSE or a websocket)" in caught.value.remedy
    server.answers = {}
    tool = words()
    server.answers = {"tools/call": lambda _: answer}
    failed = outcome(tool)
    assert (failed.reason, failed.is_permanent) == ("transient_error", False)
    assert said.replace("[", "(") in str(failed.message)
    server.answers = {}
    assert outcome(tool).result == "2"


def test_an_answer_of_another_form_is_no_answer(words, server):
    odd = reply(result={"content": 7, "tools": 7})
    for method in ("initialize", "tools/list"):
        server.answers = {method: odd}
        with pytest.raises(ToolUnavailableError) as caught:
            words()
        assert "\n" not in caught.value.reason
    server.answers = {}
    tool = words()
    server.answers = {"tools/call": odd}
    assert outcome(tool).reason == "transient_error"


def test_a_server_that_hangs_or_is_not_there_costs_its_seconds(words, server, monkeypatch):
    tool = words()
    server.answers = {"tools/call": server.hang}
    assert outcome(tool, deadline_seconds=0.5).reason == "timeout"
    server.answers = {}
    assert tool.call("a b c", DOCUMENT) == "3"
    monkeypatch.setattr("tools.plugins.mcp_tool.SECONDS_TO_START", 2)
    began = time.monotonic()
    for method, said in (("", "not ready within"), ("tools/list", "did not answer within")):
        server.answers = {method: server.hang}
        with pytest.raises(ToolUnavailableError, match=said):
            words()
    assert time.monotonic() - began < 15
    server.close()
    with pytest.raises(ToolUnavailableError, match="ConnectError"):
        words()
    assert outcome(tool).reason == "transient_error"


def test_a_session_that_the_server_dropped_is_begun_anew(words, server):
    tool = words()
    server.session += 1
    assert outcome(tool).result == "2"
    assert server.methods().count("initialize") == 2


def test_a_tool_that_the_server_does_not_have_is_named_with_the_nearest(words):
    with pytest.raises(ToolUnavailableError) as caught:
        words("get_weather")
    assert "no tool 'get_weather'. Did you mean 'get-weather'?" in caught.value.reason


@pytest.mark.parametrize(
    "malformed", [{}, {"type": "object", "properties": {"a": None}}, {"type": ["array"]}, 7, None]
)
def test_a_malformed_tool_takes_no_other_away_and_is_refused_by_name(words, server, malformed):
    server.tools["bad"] = malformed
    assert outcome(words()).result == "2"
    with pytest.raises(ToolUnavailableError, match=r"The parameters of bad are .*type: object"):
        words("bad")


def test_a_list_of_tools_without_an_end_is_refused(words, server, monkeypatch):
    monkeypatch.setattr("tools.plugins.mcp_tool.SECONDS_TO_START", 2.0)
    server.answers = {"tools/list": reply(result={"tools": [], "nextCursor": "more"})}
    with pytest.raises(ToolUnavailableError, match="did not answer within 2 s"):
        words()


def test_an_empty_cursor_ends_a_list_of_tools(words, server):
    listed = {"tools": [{"name": "count", "inputSchema": SCHEMA}], "nextCursor": ""}
    server.answers = {"tools/list": reply(result=listed)}
    assert outcome(words()).result == "2"
    with pytest.raises(ToolUnavailableError, match=r"no tool 'lines'\. It has count"):
        words("lines")


def test_a_server_that_knows_only_the_protocol_without_a_handshake_answers(words, server):
    modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    tools = [{"name": "count", "inputSchema": SCHEMA}]
    content = [{"type": "text", "text": "2"}]
    about = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    server.answers = {
        "initialize": reply(error={"code": -32601, "message": "Method not found"}),
        "server/discover": reply(result={**modern, **about}),
        "tools/list": reply(result={**modern, "tools": tools}),
        "tools/call": reply(result={**modern, "content": content}),
    }
    assert outcome(words()).result == "2"


def test_no_text_of_a_server_steers_a_terminal(words, server):
    steering = "\x1b[2J" + "x" * 1000
    server.server_version = "1\x1b[2J"
    tool = words()
    assert r" server=raw 1\x1b[2J schema=" in tool.version
    refusal = {"content": [{"type": "text", "text": steering}], "isError": True}
    for wrong in ({"result": refusal}, {"error": {"code": 1, "message": steering}}):
        server.answers = {"tools/call": reply(**wrong)}
        message = str(outcome(tool).message)
        assert message.startswith(r"Words: \x1b(2Jxxx")
        assert len(message) < 350
    tools = [{"name": "count", "description": "Counts.\x07", "inputSchema": SCHEMA}]
    server.answers = {"tools/list": reply(result={"tools": tools})}
    assert words().description == r"Counts.\x07"


def test_an_order_of_parameters_is_a_version_and_optional_ones_that_no_call_can_give_are_named(
    words, server
):
    versions = set()
    for names in (["text", "unit", "tags"], ["text", "tags", "unit"], ["unit", "text", "tags"]):
        tags = {"type": "array"}
        properties = {name: tags if name == "tags" else {"type": "string"} for name in names}
        server.tools["count"] = {**SCHEMA, "properties": properties, "required": []}
        tool = words()
        assert tool.omitted_arguments == ["tags"]
        versions.add(tool.version)
    assert len(versions) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda server: server.tools.pop("count"),
        lambda server: server.tools.update(count=OTHER_SCHEMA),
    ],
)
@pytest.mark.parametrize("when", ["after a while", "in a new session", "at a refusal"])
def test_a_tool_that_the_server_changes_amid_a_run_ends_it(
    words, server, monkeypatch, change, when
):
    tool = words()
    assert outcome(tool).result == "2"
    change(server)
    if when == "after a while":
        monkeypatch.setattr(tool, "_checked_until", 0.0)
    elif when == "in a new session":
        server.session += 1
    else:
        server.answers = {"tools/call": REFUSAL}
    with pytest.raises(ToolUnavailableError, match="it changed while it was in use"):
        outcome(tool)


def test_another_server_or_schema_is_another_version_and_only_the_schema_samples_anew(
    words, server
):
    first = words()
    server.server_version = "1.1"
    second = words()
    server.session += 1
    with pytest.raises(ToolUnavailableError, match=r"server=raw 1\.1"):
        outcome(first)
    server.tools["count"] = OTHER_SCHEMA
    third = words()
    assert len({first.version, second.version, third.version}) == 3
    assert first.sampling_version == second.sampling_version != third.sampling_version


@pytest.mark.parametrize(
    ("status", "code", "is_refusal"),
    [
        (200, -32602, True),
        (200, -32000, False),
        (400, -32602, True),
        (400, -32001, False),
        # Of a server that wants to ask the user back.
        (200, -32600, True),
    ],
)
def test_wrong_arguments_are_refused_for_ever_and_a_wrong_session_is_not(
    words, server, status, code, is_refusal
):
    tool = words()
    answer = reply(error={"code": code, "message": "no such text"})
    server.answers = {"tools/call": lambda request: (status, *answer(request)[1:])}
    result = outcome(tool)
    expected = "refused_by_server" if is_refusal else "transient_error"
    assert (result.reason, result.is_permanent) == (expected, is_refusal)
    assert "no such text" in str(result.message)


RESOURCE = {"uri": "mill://7", "mimeType": "application/pdf"}
IMAGE = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
LINK = {"type": "resource_link", "uri": "mill://7", "name": "mills"}


@pytest.mark.parametrize(
    ("content", "structured", "expected"),
    [
        ([], {"place": "Åre", "mills": 7}, '{"place": "Åre", "mills": 7}'),
        ([], {"mills": 7}, "7"),
        ([], {"mills": 0}, "0"),
        (None, {"mills": 7}, "7"),
        ([], {"result": "seven"}, "seven"),
        ([], {"result": {"mills": 7}}, '{"mills": 7}'),
        ([], {"result": ["a", 1.5, None]}, '("a", 1.5, null)'),
        ([], {"result": None}, "no_answer"),
        ([], {}, "no_answer"),
        ([IMAGE], {"mills": 7}, "7"),
        ([{"type": "text", "text": "7"}, IMAGE], {"mills": 8}, "7"),
        ([{"type": "text", "text": " "}], {"mills": 7}, "7"),
        ([{"type": "resource", "resource": {**RESOURCE, "text": "7"}}], None, "7"),
        ([{"type": "resource", "resource": {**RESOURCE, "text": "7"}}, LINK], None, "7"),
        ([{"type": "resource", "resource": {**RESOURCE, "blob": "AA"}}], None, "application/pdf"),
        ([{"type": "text", "text": ""}, IMAGE], None, "no text, only image image/png"),
        ([IMAGE, LINK], None, "image image/png, resource_link mill://7"),
    ],
)
def test_an_answer_without_text_is_its_structured_content_or_its_resources(
    words, server, content, structured, expected
):
    more = {} if structured is None else {"structuredContent": structured}
    tool = words()
    server.answers = {"tools/call": reply(result={"content": content, **more})}
    found = outcome(tool)
    if found.reason == "no_text_in_answer":
        assert f"the server at {server.url} contains no text, only " in str(found.message)
        assert str(found.message).endswith(f"{expected}.")
        assert found.is_permanent
    else:
        assert (found.result or found.reason) == expected


def test_what_a_server_refuses_in_structured_content_alone_is_told(words, server):
    tool = words()
    refusal = {"content": [], "structuredContent": {"error": "no such place"}, "isError": True}
    server.answers = {"tools/call": reply(result=refusal)}
    assert outcome(tool).message == "Words: no such place."


@pytest.mark.parametrize(
    "wrong", [{"url": None}, {"command": ["python"]}, {"environment": {"A": "b"}}]
)
def test_a_server_has_either_a_command_or_an_address(words, wrong):
    with pytest.raises(ToolSettingsError, match="expected either command"):
        words(**wrong)


def test_proxies_of_the_environment_are_not_asked_for_this_machine(words, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert outcome(words()).result == "2"


def connections() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "mcp-server"}


def test_the_connection_ends_with_its_tool(server):
    before = connections()
    tool = McpTool("Words", "count", url=server.url)
    (connection,) = connections() - before
    held = weakref.ref(tool._connection)
    tool.close()
    assert not connection.is_alive()
    gc.collect()
    assert held() is None
    tool = McpTool("Words", "count", url=server.url)
    (connection,) = connections() - before
    del tool
    gc.collect()
    assert not connection.is_alive()
