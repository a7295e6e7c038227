"""The tools of an export of chats: the schema of each, and its arguments by name."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dagster_project.commands import console
from toolformer.errors import ExportError
from toolformer.exports.records import ChatTool, break_marks, text_tool, tool_schema
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.toolbox import open_tool
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolError
from warehouse.warehouse import Warehouse


def chat_tools(
    warehouse: Warehouse, settings: Settings, home: Home, round_number: int
) -> dict[str, ChatTool]:
    """The tools with calls in the texts of a round, by name; marks in their schemas are broken.

    Raises:
        ExportError: a call has arguments that its tool does not take; when it is read.
    """
    rows = warehouse.ask("exported_tools", round=round_number).to_dicts()
    tools = {row["tool"]: _chat_tool(row, settings, home) for row in rows}
    return {name: replace(tool, schema=break_marks(tool.schema)) for name, tool in tools.items()}


def _chat_tool(row: Mapping[str, Any], settings: Settings, home: Home) -> ChatTool:
    name = row["tool"]
    try:
        tool = open_tool(settings, home, name)
        schema, description = tool.argument_schema, tool.description
    except ToolError as error:
        # Its calls are there, and the tool is not registered any more, or cannot run here.
        console.say(
            f"The tool {name} cannot be opened, so its calls have all arguments in one text: "
            f"{error}"
        )
        description = f"The tool {name}."
    else:
        if schema is not None:
            return ChatTool(tool_schema(name, description, schema), partial(_values, tool))
    return text_tool(
        name,
        description,
        has_input=row["has_arguments"],
        needs_input=row["needs_arguments"],
    )


def _values(tool: Tool, arguments: str) -> Mapping[str, object]:
    try:
        return tool.named_arguments(arguments)
    except CallSyntaxError as error:
        raise ExportError(
            f"The call {tool.name}({arguments}) has other arguments than the tool takes now: "
            f"{error} Run `toolformer build`, which makes the calls of a changed tool anew."
        ) from error
