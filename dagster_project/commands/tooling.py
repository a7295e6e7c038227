"""`toolformer tools list`, `try` and `check`: what tools there are, and how one behaves."""

from collections.abc import Iterator, Mapping

from dagster_project.commands import console
from dagster_project.commands.completing import given_date
from dagster_project.commands.options import RunOptions
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.toolbox import (
    execution_limits,
    open_tool,
    open_toolbox,
    options_of,
    prompt_of,
)
from tools.base import Tool
from tools.errors import CallSyntaxError
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document, ToolCall
from tools.registry import check_tool_name, check_usable, create_tool, is_plugin
from tools.running.contract import ContractFinding, Trial, check_contract
from tools.running.execution import execute_calls
from tools.syntax import format_call, strip_quotes


def list_tools(*, as_json: bool) -> None:
    """Print the tools with their origin, their settings and whether they can run."""
    import polars as pl

    home = Home.find()
    settings = RunOptions().load_settings(home)
    toolbox = open_toolbox(settings, home)
    rows = []
    for name in settings.tools.names:
        tool_settings = settings.tools.of(name)
        state = toolbox.unavailable.get(name, "disabled")
        if name in toolbox.tools:
            missing = ", ".join(toolbox.tools[name].left_out)
            state = f"available, but no call can give {missing}" if missing else "available"
        rows.append(
            {
                "tool": name,
                "state": state,
                "τ_s": tool_settings.sampling_threshold,
                "k": tool_settings.positions_per_text,
                "m": tool_settings.calls_per_position,
                "τ_f": tool_settings.filtering_threshold,
                "prompt": tool_settings.prompt or ("its own" if is_plugin(name) else "built in"),
                "origin": settings.tools.targets.get(name, "built in"),
            }
        )
    console.frame(pl.DataFrame(rows), as_json=as_json)


def try_tool(name: str, text: str, options: RunOptions, *, today: str | None) -> bool:
    """Make one call of a tool and print it; the Calendar answers as in `complete`.

    Args:
        today: date of the text around the call; by default the present day.

    Returns:
        Whether there is a result.

    Raises:
        UnknownToolError, ToolUnavailableError, ToolSettingsError: there is no tool to try.
    """
    home = Home.find()
    settings = options.load_settings(home)
    tool = open_tool(settings, home, name, while_decoding=True)
    check_usable(tool, name)
    try:
        arguments = parse_arguments(tool, strip_quotes(text))
    except CallSyntaxError as error:
        console.say(f"no call of {name} ({error.reason}): {error}")
        return False
    document = Document("command-line", text="", published_on=given_date(today))
    (result,) = execute_calls(tool, [(arguments, document)], limits=execution_limits(settings))
    call = ToolCall(name, arguments)
    if result.result is None:
        reason = ": ".join(filter(None, (result.reason, result.message)))
        console.say(f"{format_call(call).strip()} has no result: {reason}")
        return False
    console.say(format_call(call, result.result).strip())
    return True


def check_tool(name: str, options: RunOptions) -> bool:
    """Try out what a tool promises, and print what was found.

    In this process, so that a debugger works; a tool of the user's own may end it.

    Returns:
        Whether no rule is broken.

    Raises:
        UnknownToolError, ToolUnavailableError, ToolSettingsError: there is no tool to check.
    """
    home = Home.find()
    settings = options.load_settings(home)
    check_tool_name(name, targets=settings.tools.targets)
    states = []
    for finding in try_rules(name, settings, home):
        console.say(f"{finding.status}  {finding.rule}: {finding.detail}")
        states.append(finding.status)
    console.say(
        f"{states.count('passed')} passed, {states.count('failed')} failed, "
        f"{states.count('skipped')} skipped"
    )
    return "failed" not in states


def try_rules(name: str, settings: Settings, home: Home) -> Iterator[ContractFinding]:
    """Try a tool, rule by rule.

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
