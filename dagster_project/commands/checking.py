"""The rules that tools keep, tried out: here, or in a process of its own, which a tool may end."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from dagster_project.commands.errors import COMMAND_ERRORS
from dagster_project.commands.options import RunOptions
from dagster_project.expected_errors import explained
from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.wiring.toolbox import options_of, prompt_of
from tools.base import Tool
from tools.errors import ToolError
from tools.plugins.contract import RULES, ContractFinding, check_contract
from tools.plugins.trial import Trial
from tools.registry import create_tool

_PROGRAM = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from dagster_project.commands.checking import report_rules; report_rules(given)"
)


def try_rules(name: str, settings: Settings, home: Home) -> Iterator[ContractFinding]:
    """Try a tool in this process.

    Raises:
        ToolError: there is no tool to try.
    """
    of_user = dict(settings.tools.of(name).options)
    # What the home gives, a path or a model, is no setting that travels.
    of_home = {
        option: value
        for option, value in options_of(settings, home, name).items()
        if option not in of_user
    }

    def create(given: Mapping[str, object]) -> Tool:
        return create_tool(name, {**of_home, **given}, targets=settings.tools.targets)

    yield from check_contract(
        Trial(
            name,
            create,
            of_user,
            read_prompt=lambda tool: prompt_of(settings, tool),
            deadline_seconds=settings.execution.deadline_seconds,
        )
    )


def try_rules_apart(name: str, options: RunOptions) -> Iterator[ContractFinding]:
    """Try a tool in a process of its own, which has our streams, so that a debugger works.

    A tool that ends the process has broken the rule that was tried, and the others are skipped.

    Raises:
        ToolError: there is no tool to try.
    """
    reading, writing = os.pipe()
    given = {
        "name": name,
        "preset": options.preset,
        "overrides": options.overrides,
        "path": sys.path,
        "pipe": writing,
    }
    # What kills a process tells where it was, on the error output.
    command = [sys.executable, "-X", "faulthandler", "-c", _PROGRAM, json.dumps(given, default=str)]
    left = deque(RULES)
    with (
        os.fdopen(reading, encoding="utf-8") as lines,
        subprocess.Popen(command, pass_fds=[writing]) as process,
    ):
        os.close(writing)
        for line in lines:
            told = json.loads(line)
            if "error" in told:
                raise ToolError(told["error"])
            yield ContractFinding(**told)
            left.popleft()
    if left:
        status = process.returncode
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        yield ContractFinding(
            left.popleft(),
            "failed",
            f"The process ended ({how}). Expected an answer or an error; what a tool runs must "
            "not end its process.",
        )
    for rule in left:
        yield ContractFinding(rule, "skipped", "the process of the check has ended")


def report_rules(given: Mapping[str, Any]) -> None:
    """The body of that process: each finding, or the error, is a JSON line in the pipe."""
    # Whoever started it says what becomes of an interrupt.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.set_inheritable(given["pipe"], False)
    with os.fdopen(given["pipe"], "w", encoding="utf-8", buffering=1) as pipe:
        try:
            home = Home.find()
            settings = RunOptions(given["preset"], given["overrides"]).load_settings(home)
            for finding in try_rules(given["name"], settings, home):
                pipe.write(json.dumps(dataclasses.asdict(finding)) + "\n")
        except COMMAND_ERRORS as error:
            pipe.write(json.dumps({"error": explained(error)}) + "\n")
