"""`toolformer tools list`, `try` and `check`: what tools there are, and how one behaves."""

from dagster_project.commands import console
from dagster_project.commands.checking import try_rules, try_rules_apart
from dagster_project.commands.completing import given_date
from dagster_project.commands.options import RunOptions
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import execution_limits, open_tool, open_toolbox
from tools.errors import CallSyntaxError
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document, ToolCall
from tools.registry import check_tool_name, check_usable, is_plugin
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
        console.say(f"{format_call(call).strip()} has no result: {result.reason}")
        return False
    console.say(format_call(call, result.result).strip())
    return True


def check_tool(name: str, options: RunOptions) -> bool:
    """Try out what a tool promises, and print what was found.

    Returns:
        Whether no rule is broken.

    Raises:
        UnknownToolError, ToolUnavailableError, ToolSettingsError: there is no tool to check.
    """
    home = Home.find()
    settings = options.load_settings(home)
    check_tool_name(name, targets=settings.tools.targets)
    findings = (
        try_rules_apart(name, options) if is_plugin(name) else try_rules(name, settings, home)
    )
    states = []
    for finding in findings:
        console.say(f"{finding.status}  {finding.rule}: {finding.detail}")
        states.append(finding.status)
    console.say(
        f"{states.count('passed')} passed, {states.count('failed')} failed, "
        f"{states.count('skipped')} skipped"
    )
    return "failed" not in states
