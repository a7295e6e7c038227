"""The tools that a user hands to `generate`, checked before anything expensive.

Does not run them.
"""

from collections.abc import Sequence

from toolformer.errors import UnservedGenerationError
from tools.base import Tool
from tools.calendar import Calendar
from tools.registry import check_usable
from tools.syntax import is_tool_name


def tools_by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    """The tools by the names that calls have.

    A Calendar that reads the date of an address gets one that reads the given date in its place: a
    prompt has no address.

    Args:
        tools: Tools of this project, or others that are subclasses of `tools.base.Tool`.

    Returns:
        The tools, in their order.

    Raises:
        UnservedGenerationError: One is no tool, has a name that cannot be called, or has the name
            of another.
        ToolUnavailableError, MissingDependencyError: One cannot run here.
    """
    by_name: dict[str, Tool] = {}
    for tool in tools:
        if not isinstance(tool, Tool):
            raise UnservedGenerationError(
                f"tools has {tool!r}, which is no tool. Expected tools that are ready for use, as "
                "in tools=[Calculator()]; derive your own from tools.base.Tool, or wrap a "
                "function in tools.plugins.function_tool.FunctionTool."
            )
        name = getattr(tool, "name", None)
        if not isinstance(name, str) or not is_tool_name(name) or name in by_name:
            problem = "cannot be written in a call" if name not in by_name else "is there twice"
            raise UnservedGenerationError(
                f"tools has a tool named {name!r}, a name that {problem}. Expected one tool for "
                "each name, of ASCII letters, digits and '_', without a digit in front."
            )
        check_usable(tool, name)
        by_name[name] = _for_prompts(tool)
    return by_name


def _for_prompts(tool: Tool) -> Tool:
    if isinstance(tool, Calendar) and tool.date_source == "url" and tool.today is None:
        return Calendar(date_source="published_on")
    return tool
