"""Tools of MCP servers, with a server of the official library."""

import gc
import logging
import shutil
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import happens
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import open_tool
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.settings_file import load_settings
from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.mcp_tool import MCP_TOOL, McpTool
from tools.prompting import load_prompt
from tools.protocol import LONGEST_ANSWER, Document
from tools.registry import check_usable
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.isolation import IsolatedTool

DOCUMENT = Document("d", "a text")
SERVER = [sys.executable, str(Path(__file__).with_name("mcp_example_server.py"))]


@pytest.fixture
def make():
    """Makes tools of the example server and ends their servers."""
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    made = []

    def make_tool(tool="count_words", **settings):
        settings = {"command": SERVER, **settings}
        made.append(McpTool("Words", tool=tool, **settings))
        return made[-1]

    yield make_tool
    for tool in made:
        tool.close()


def test_a_tool_of_a_server_answers_calls(make):
    tool = make(examples=["2: [Words(one two)] 2.", "1: [Words(one)] 1.", "1: [Words(two)] 1."])
    check_usable(tool, "Words")
    assert tool.description == "Counts the words of a text."
    assert "server=examples 1.2" in tool.version
    assert tool.takes_arguments
    assert tool.parse_arguments("text = one two,  at_least=01") == "one two, 1"
    with pytest.raises(CallSyntaxError):
        tool.parse_arguments("one, at_least=few")
    assert '"[Words(text, at_least)]"' in load_prompt("Words", own=tool.prompt)
    results = execute_calls(tool, [("a b c", DOCUMENT), ("a, 1", DOCUMENT)], limits=Limits(30))
    assert [result.result for result in results] == ["3", "1"]


def test_the_variables_of_a_server_are_in_the_version_but_for_the_values_of_secrets(make):
    settings = ({"UNITS": "metric"}, {"UNITS": "imperial"}, {"API_KEY": "1"}, {"API_KEY": "2"})
    metric, imperial, key, other_key = (make(environment=each).version for each in settings)
    assert len({metric, imperial, key}) == 3
    assert key == other_key
    assert "metric" not in metric.split("environment=")[1]


def test_an_edited_server_of_the_same_name_and_version_is_another_version(make, tmp_path):
    program = tmp_path / "server.py"
    command, folder = [sys.executable, "server.py"], str(tmp_path)
    shutil.copy(SERVER[1], program)
    tool = make(command=command, folder=folder)
    assert tool.call("one two", DOCUMENT) == "2"
    program.write_text(program.read_text().replace("len(text.split())", "len(text)"))
    edited = make(command=command, folder=folder)
    assert edited.call("one two", DOCUMENT) == "7"
    assert edited.version != tool.version
    assert edited.sampling_version == tool.sampling_version
    # One that is started anew in the middle of a run would answer in the name of the first.
    tool.close()
    with pytest.raises(ToolUnavailableError, match="changed while it was in use"):
        tool.call("one two", DOCUMENT)


def test_a_file_that_a_server_writes_is_not_in_its_version(make, tmp_path):
    log = tmp_path / "answers.log"
    log.touch()
    tool = make(command=[*SERVER, str(log)])
    log.write_text("one two: 2")
    assert make(command=[*SERVER, str(log)]).version == tool.version
    assert tool.call("one two", DOCUMENT) == "2"


@pytest.mark.parametrize(
    ("tool", "arguments", "reason", "is_permanent"),
    [
        ("count_words", "one, at_least=5", "refused_by_server", True),
        ("nothing", "", "no_answer", True),
        # Another server may well answer it.
        ("misbehave", "die", "server_died", False),
    ],
)
def test_a_call_without_an_answer_has_a_reason(make, tool, arguments, reason, is_permanent):
    with pytest.raises(ToolCallError) as caught:
        make(tool).call(arguments, DOCUMENT)
    assert (caught.value.reason, caught.value.is_permanent) == (reason, is_permanent)


def test_a_server_that_ended_is_started_anew(make, tmp_path):
    tool = make("misbehave")
    assert tool.call(f"die_once, {tmp_path / 'mark'}", DOCUMENT) == "survived"
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(("tool", "endless"), [("misbehave", "hang"), ("calculate", "9**9**9**9")])
def test_a_server_without_an_end_is_late_and_replaced_for_the_next_call(tool, endless):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    limits = {"memory_bytes": 4 * 2**30, "environment": (), "with_network": False}
    options = {"command": SERVER, "tool": tool}
    with closing(IsolatedTool("Words", MCP_TOOL, options, deadline_seconds=2.0, **limits)) as words:
        assert words.description
        busy = servers()
        assert busy
        with pytest.raises(ToolTimeoutError):
            words.call(endless, DOCUMENT)
        assert happens(lambda: not busy & servers(), seconds=20)
        assert words.call(f"die_once, {__file__}" if tool == "misbehave" else "6 * 7", DOCUMENT)


def test_the_server_gets_only_the_variables_that_are_given(make, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TEST", "secret")
    tool = make("environment", environment={"GIVEN": "here"})
    assert tool.call("SECRET_OF_THE_TEST", DOCUMENT) == "not set"
    assert tool.call("GIVEN", DOCUMENT) == "here"


def test_no_secret_of_a_servers_variables_is_kept_or_told(make):
    given = {"API_KEY": "k3y-of-the-test", "MAX_TOKENS": "5", "AUTHOR": "Shakespeare"}
    tool = make("environment", environment=given)
    with pytest.raises(ToolCallError) as caught:
        tool.call("API_KEY", DOCUMENT)
    assert caught.value.reason == "secret_in_answer"
    assert tool.call("MAX_TOKENS", DOCUMENT) == "5"
    assert tool.call("AUTHOR", DOCUMENT) == "Shakespeare"
    command = [sys.executable, "-c", "import os, sys; sys.exit(os.environ['API_KEY'])"]
    with pytest.raises(ToolUnavailableError, match="it wrote: …"):
        make(command=command, environment=given)


def test_what_a_server_prints_or_answers_out_of_order_is_passed_over_and_noise_is_named_once(
    make, caplog
):
    folder = str(Path(__file__).parent)
    noisy = {"command": [sys.executable, "mcp_noisy_server.py"], "folder": folder}
    for _ in range(2):
        tool = make("half", **noisy)
        requests = [(str(n), DOCUMENT) for n in (10, 12, 14, 16, 18, 20)]
        results = execute_calls(tool, requests, limits=Limits(30))
        half, two, picture, error, long, marked = [each.result or each.reason for each in results]
        assert (half, two) == ("5", "6 (half of 12)")
        assert (picture, error) == ("no_text_in_answer", "refused_by_server")
        assert results[3].message == "Words: quota exceeded."
        assert long == ("9 " * LONGEST_ANSWER)[:LONGEST_ANSWER].strip()
        assert marked == "(10) to see (2)"
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "not a message: 'Half Server is running …'" in record.message


def test_a_slow_start_is_waited_for_as_long_as_the_settings_say(make):
    main = "import time; time.sleep(1); from tests.tools.plugins.mcp_noisy_server import main"
    slow = {"command": [sys.executable, "-c", f"{main}; main()"], "tool": "half"}
    slow["folder"] = str(Path(__file__).parents[3])
    with pytest.raises(ToolUnavailableError, match=r"not ready within 0\.5 s") as caught:
        make(**slow, start_seconds=0.5)
    assert "still be starting" in caught.value.remedy
    assert "by hand, or raise start_seconds" in caught.value.remedy
    tool = make(**slow, start_seconds=60)
    assert tool.call("10", DOCUMENT) == "5"
    assert tool.version == make(**slow).version
    # Nor does the process that it lives in end it before.
    limits = {"memory_bytes": 2**32, "environment": (), "with_network": False}
    apart = IsolatedTool("A", MCP_TOOL, {"start_seconds": 900}, deadline_seconds=1, **limits)
    assert apart.start_seconds > 900


def test_a_command_with_a_relative_path_begins_beside_the_settings_also_in_the_worker(tmp_path):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    shutil.copy(Path(__file__).with_name("mcp_noisy_server.py"), tmp_path / "server.py")
    (tmp_path / "toolformer.yaml").write_text(
        f"tools:\n  Half:\n    class: {MCP_TOOL}\n    options:\n"
        f"      command: ['{sys.executable}', server.py]\n      tool: half\n"
    )
    home = Home(tmp_path)
    tool = open_tool(Workspace(load_settings(home.settings_file), home), "Half")
    assert tool.call("10", DOCUMENT) == "5"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tool": "count_letters"}, "no tool 'count_letters'"),
        ({"tool": "add_all"}, "The parameter numbers of add_all: "),
        ({"command": ["/nowhere/program"]}, "No such file or directory"),
        ({"command": [sys.executable, "-c", "import sys; sys.exit('no way')"]}, "no way"),
        ({"command": [sys.executable, "-c", "print('no key for it')"]}, "no key for it"),
        ({"command": ["sleep", "30"]}, "not ready within 5 s"),
    ],
)
def test_what_cannot_be_used_is_unavailable_and_says_why(make, settings, reason, monkeypatch):
    monkeypatch.setattr("tools.plugins.mcp_tool.SECONDS_TO_START", 5.0)
    with pytest.raises(ToolUnavailableError) as caught:
        make(**settings)
    assert reason in caught.value.reason
    assert not servers("sleep 30")


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": "a b"},
        {"command": []},
        {"command": ["a", 1]},
        {"examples": "x"},
        {"environment": {"PORT": 8080}},
    ],
)
def test_settings_that_cannot_be_used_are_errors(wrong):
    (setting,) = wrong
    with pytest.raises(ToolSettingsError, match=f"^Words: {setting} is "):
        McpTool(**{"name": "Words", "tool": "count_words", "command": ["python"], **wrong})


def test_without_the_library_the_tool_is_unavailable_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "tools.plugins.mcp_client", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ToolUnavailableError, match=r"pip install -c .*\[mcp\]"):
        McpTool("Words", "count_words", command=SERVER)


def servers(program: str = "mcp_example_server") -> set[int]:
    """Process ids of the servers that this process started, or one that it started."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if program in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_the_server_ends_with_its_connection_and_with_its_tool(make):
    before = servers()
    closed = make()
    assert servers() - before

    # As the garbage collector may do.
    async def close():
        closed._connection.close()

    closed._connection._portal.call(close)
    assert happens(lambda: not servers() - before, seconds=20)
    assert closed.call("a b", DOCUMENT) == "2"
    before = servers()
    tool = McpTool("Words", "count_words", command=SERVER)
    assert servers() - before
    del tool
    gc.collect()
    assert not servers() - before


@pytest.mark.parametrize("how", ["", "; tool.call('9**9**9**9', Document('d', ''))"])
def test_the_server_ends_with_the_process_also_if_both_are_busy_and_it_is_killed(how):
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    code = (
        "from tests.tools.plugins.test_mcp_tool import SERVER, Document, McpTool, servers\n"
        "tool = McpTool('Words', 'calculate', command=SERVER)\n"
        f"print(*servers(), flush=True){how}"
    )
    command = [sys.executable, "-c", code]
    folder = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout
        server = int(process.stdout.readline())
        if how:
            time.sleep(1)
            process.kill()
    assert happens(lambda: not psutil.pid_exists(server), seconds=20)
