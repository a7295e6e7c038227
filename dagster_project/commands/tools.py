"""`toolformer tools`: list the tools, try one, or check that one follows the rules for tools."""

from collections import Counter
from datetime import datetime
from typing import Annotated

import polars as pl
import typer

from dagster_project.commands import console
from dagster_project.commands.options import AsJson, Changes, Day, RunOptions, ToolName
from toolformer.home.wiring.toolbox import open_tool, open_toolbox, options_of, prompt_of
from toolformer.home.wiring.workspace import Workspace
from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolDiedError,
    ToolError,
    ToolUnavailableError,
)
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document, ToolCall
from tools.registry import check_tool_name, check_usable, create_tool, is_plugin
from tools.running.contract import Trial
from tools.syntax import clean_result, format_call, strip_quotes

app = typer.Typer()
tools_app = typer.Typer(help="List, try and check the tools.", no_args_is_help=True)
app.add_typer(tools_app, name="tools")


@tools_app.command("list")
def list_tools(as_json: AsJson = False) -> None:
    """List the tools with their state, settings and origin."""
    work = RunOptions().workspace()
    settings = work.settings
    rows = []
    for name, tool in ((name, settings.tools.of(name)) for name in settings.tools.names):
        rows.append(
            {
                "tool": name,
                "state": _state(name, work),
                "τ_s": tool.sampling_threshold,
                "k": tool.positions_per_text,
                "m": tool.calls_per_position,
                "τ_f": tool.filtering_threshold,
                "prompt": tool.prompt or ("its own" if is_plugin(name) else "built in"),
                "origin": settings.tools.targets.get(name, "built in"),
            }
        )
    console.frame(pl.DataFrame(rows), as_json=as_json)


def _state(name: str, work: Workspace) -> str:
    if name not in work.settings.tools.enabled_names:
        return "disabled"
    try:
        missing = ", ".join(open_toolbox(work, named=[name]).tools[name].omitted_arguments)
    except ToolError as error:
        return str(error)
    return f"available, but calls cannot set {missing}" if missing else "available"


@tools_app.command("try", context_settings={"ignore_unknown_options": True})
def try_tool(
    name: ToolName,
    arguments: Annotated[
        str,
        typer.Argument(
            help="Arguments, as written between the brackets of a call. Put `--` before arguments "
            "that start with a dash."
        ),
    ] = "",
    today: Day = None,
    changes: Changes = None,
) -> None:
    """Make one call and print its result, or why it has none."""
    tool = open_tool(RunOptions.of(changes).workspace(), name, while_decoding=True)
    check_usable(tool, name)
    try:
        parsed = parse_arguments(tool, strip_quotes(arguments))
    except CallSyntaxError as error:
        console.say(f"not a call of {name} ({error.reason}): {error}")
        raise typer.Exit(1) from None
    document = Document("command-line", text="", published_on=(today or datetime.now()).date())
    try:
        tool.prepare()
        result = clean_result(tool.call(parsed, document))
        problem = "" if result else "empty_result: The answer is empty. Expected text."
    except (ToolDiedError, ToolUnavailableError):
        raise
    except ToolError as error:
        result = ""
        problem = f"{error.reason}: {error}" if isinstance(error, ToolCallError) else str(error)
    about = f" has no result: {problem}" if problem else ""
    console.say(f"{format_call(ToolCall(name, parsed), result).strip()}{about}")
    if problem:
        raise typer.Exit(1)


@tools_app.command("check")
def check_tool(name: ToolName, changes: Changes = None) -> None:
    """Check a tool's prompt, arguments, errors, deadline, batches and settings."""
    # The tool runs in this process, so that a debugger works. A faulty tool may end the process.
    work = RunOptions.of(changes).workspace()
    check_tool_name(name, targets=work.settings.tools.targets)
    states = Counter()
    for rule, status, detail in contract_trial(name, work).run():
        console.say(f"{status}  {rule}: {detail}")
        states[status] += 1
    console.say(", ".join(f"{states[state]} {state}" for state in ("passed", "failed", "skipped")))
    if states["failed"]:
        raise typer.Exit(1)


def contract_trial(name: str, work: Workspace) -> Trial:
    settings, options = work.settings, options_of(work, name)
    # The trial varies the user's options, but not those that the home provides (paths, models).
    given_by_user = settings.tools.of(name).options
    home_options = {option: options.pop(option) for option in options.keys() - given_by_user.keys()}
    targets = settings.tools.targets
    return Trial(
        name,
        lambda given: create_tool(name, {**home_options, **given}, targets=targets),
        options,
        read_prompt=lambda tool: prompt_of(settings, tool),
        deadline_seconds=settings.execution.deadline_seconds,
    )
