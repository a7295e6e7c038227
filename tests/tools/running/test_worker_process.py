"""What a tool from outside cannot do to the process that it runs in, and to the calls beside it."""

import logging
import textwrap
import time

import pytest

from tools.errors import ToolBugError, ToolCallError
from tools.protocol import Document
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.isolation import IsolatedTool

MODULE = """
import json, os, subprocess, sys, time
from tools.base import Tool

def write_everywhere(line):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, line)
        except OSError:
            pass

LATER = '''
import os, time
time.sleep(0.3)
for descriptor in range(3, 64):
    try:
        os.write(descriptor, b"{}" + bytes([10]))
    except OSError:
        pass
'''

class Meddler(Tool):
    name, version, description = "Meddler", "1", "Meddles."

    def call(self, arguments, document):
        if arguments == "fork":
            # The parent comes back later.
            time.sleep(0.3 if os.fork() else 0.0)
        if arguments == "child writes":
            if os.fork() == 0:
                write_everywhere(b'{"answer": "of the child"}\\n')
                os._exit(0)
            os.wait()
        if arguments == "write":
            write_everywhere(b'{"answer": "forged"}\\n')
        if arguments == "write twice":
            write_everywhere(b'{"answer": "forged"}\\n{"answer": "forged again"}\\n')
        if arguments == "write later":
            for descriptor in range(3, 64):
                try:
                    os.set_inheritable(descriptor, True)
                except OSError:
                    pass
            subprocess.Popen([sys.executable, "-c", LATER], close_fds=False)
        if arguments == "environment":
            return " ".join(sorted(os.environ))
        if arguments == "write length":
            write_everywhere(bytes([0, 0, 0, 30]))
        if arguments == "child":
            code = "bytearray(2**30)"
            child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            return child.stderr.strip().rpartition("\\n")[2]
        if arguments == "bug":
            return self.stumble(document)
        return f"the answer of {arguments}"

    def stumble(self, document):
        return json.loads("no JSON")
"""
DOCUMENT = Document("d", "a text")


@pytest.fixture
def make(tmp_path, monkeypatch):
    (tmp_path / "meddling.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(**limits):
        tool = IsolatedTool("Meddler", "meddling:Meddler", **{"deadline_seconds": 10.0, **limits})
        made.append(tool)
        return tool

    yield make
    for tool in made:
        tool.close()


def answers(tool, *texts):
    found = []
    for text in texts:
        try:
            found.append(tool.call(text, DOCUMENT))
        except ToolCallError as error:
            found.append(error.reason)
    return found


@pytest.mark.parametrize("meddling", ["fork", "child writes"])
def test_a_forked_child_answers_no_call(make, meddling):
    tool = make()
    expected = [f"the answer of {text}" for text in (meddling, "1 + 1", "2 + 2", "3 + 3")]
    assert answers(tool, meddling, "1 + 1", "2 + 2", "3 + 3") == expected


@pytest.mark.parametrize("meddling", ["write", "write twice", "write length"])
def test_what_the_tool_writes_is_no_answer_and_shifts_none(make, meddling):
    given = answers(make(), "1 + 1", meddling, "2 + 2", "3 + 3")
    assert given == [
        "the answer of 1 + 1",
        "process_ended",
        "the answer of 2 + 2",
        "the answer of 3 + 3",
    ]


def test_what_is_written_between_calls_answers_none(make):
    tool = make()
    assert answers(tool, "write later", "1 + 1")[0] == "the answer of write later"
    time.sleep(1)
    assert answers(tool, "2 + 2", "3 + 3") == ["the answer of 2 + 2", "the answer of 3 + 3"]


def test_what_the_tool_starts_has_its_memory_limit(make):
    assert answers(make(memory_bytes=2**30), "child", "1 + 1") == [
        "MemoryError",
        "the answer of 1 + 1",
    ]


def test_a_tool_gets_no_secrets_but_those_that_it_is_given(make, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WEATHER_KEY", "secret too")
    (names,) = answers(make(), "environment")
    assert {"PATH", "PYTHONPATH"} <= set(names.split())
    assert not {"HF_TOKEN", "WEATHER_KEY"} & set(names.split())
    (names,) = answers(make(environment=["WEATHER_KEY"]), "environment")
    assert "WEATHER_KEY" in names.split()
    assert "HF_TOKEN" not in names.split()


def test_an_error_names_the_line_of_the_users_own_file(make, caplog):
    tool = make()
    with pytest.raises(ToolBugError, match=r"JSONDecodeError: .* \(meddling.py:\d+ in stumble\)"):
        tool.call("bug", DOCUMENT)
    with caplog.at_level(logging.WARNING):
        results = execute_calls(tool, [("bug", DOCUMENT)] * 5, limits=Limits(10.0))
    assert {result.reason for result in results} == {"tool_error"}
    (record,) = [each for each in caplog.records if "ToolBugError" in each.message]
    assert "in stumble)" in record.message
    assert record.exc_info is None
