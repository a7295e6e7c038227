"""Tries the rules that tools keep: in this process, or in another one, which a tool may end."""

import faulthandler
import multiprocessing
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from dagster_project.commands.errors import COMMAND_ERRORS
from dagster_project.commands.options import RunOptions
from toolformer.home.expected_errors import explained
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.toolbox import options_of, prompt_of
from tools.base import Tool
from tools.errors import ToolError
from tools.registry import create_tool
from tools.running.contract import RULES, ContractFinding, Trial, check_contract

_GRACE_SECONDS = 5.0


def try_rules(name: str, settings: Settings, home: Home) -> Iterator[ContractFinding]:
    """Try a tool in this process.

    Raises:
        ToolError: there is no tool to try.
    """
    options = options_of(settings, home, name)
    # What the home gives, a path or a model, is no setting that travels.
    given_by_user = settings.tools.of(name).options
    home_options = {option: options.pop(option) for option in options.keys() - given_by_user.keys()}

    def create(given: Mapping[str, object]) -> Tool:
        return create_tool(name, {**home_options, **given}, targets=settings.tools.targets)

    yield from check_contract(
        Trial(
            name,
            create,
            options,
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
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_findings, args=(sender, name, options))
    process.start()
    # Only that process may hold the sending end: when it ends, receiving does.
    sender.close()
    left = deque(RULES)
    with receiver, suppress(EOFError):
        while True:
            message = receiver.recv()
            if isinstance(message, str):
                raise ToolError(message)
            yield message
            left.popleft()
    process.join()
    if left:
        status = process.exitcode or 0
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        yield ContractFinding(
            left.popleft(),
            "failed",
            f"The process ended ({how}). Expected an answer or an error; what a tool runs must "
            "not end its process.",
        )
    for rule in left:
        yield ContractFinding(rule, "skipped", "the process of the check has ended")


def _end_when_stuck(seconds: float) -> None:
    """End this process when no thread but one could run for so long: no deadline holds then."""
    while True:
        faulthandler.dump_traceback_later(seconds, exit=True)
        time.sleep(1)


def _send_findings(sender: Connection, name: str, options: RunOptions) -> None:
    """The body of that process: sends each finding, or the error as a text."""
    # What kills the process tells where it was, on the error output.
    faulthandler.enable()
    # Whoever started it says what becomes of an interrupt.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # `multiprocessing` gives a child no standard input, and a debugger needs the terminal.
    with suppress(OSError):
        sys.stdin = Path("/dev/tty").open(encoding="utf-8")  # noqa: SIM115
    try:
        home = Home.find()
        settings = options.load_settings(home)
        seconds = settings.execution.deadline_seconds + _GRACE_SECONDS
        threading.Thread(target=_end_when_stuck, args=(seconds,), daemon=True).start()
        for finding in try_rules(name, settings, home):
            sender.send(finding)
    except COMMAND_ERRORS as error:
        sender.send(explained(error))
