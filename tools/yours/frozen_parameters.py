"""What calls of a typed tool look like, as JSON: enough to read its calls without the tool.

Does not keep values that only Python code knows, such as the members of an Enum: a call is read and
written by the texts of its choices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.base import BaseTool
from tools.protocol import Tool
from tools.yours.function_tool import FunctionTool
from tools.yours.mcp_tool import McpTool
from tools.yours.typed_arguments import Parameter

_TYPED = (FunctionTool.parse_arguments, McpTool.parse_arguments)
# With a method of its own, more than the parameters decides what is sampled.
_BEFORE_CALLS = ("preselect", "proposals", "check_place")


def frozen_parameters(tool: Tool) -> list[dict[str, Any]] | None:
    """The parameters of a tool from which all follows that it does before it is called.

    Args:
        tool: Any.

    Returns:
        One JSON object per parameter; None for a tool with code of its own.

    Example:
        >>> tool = FunctionTool(
        ...     name="Half", description="Halves.", function=lambda x: x / 2, version="1",
        ...     parameters=[Parameter("x", "number")],
        ... )
        >>> [(each["name"], each["kind"]) for each in frozen_parameters(tool)]
        [('x', 'number')]
    """
    kind = type(tool)
    if not isinstance(tool, FunctionTool | McpTool) or kind.parse_arguments not in _TYPED:
        return None
    if any(getattr(kind, name) is not getattr(BaseTool, name) for name in _BEFORE_CALLS):
        return None
    return [_frozen(parameter) for parameter in tool.parameters]


def thawed_parameters(frozen: Sequence[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    """Parameters that read and write calls as those did which were frozen.

    Args:
        frozen: From `frozen_parameters`.

    Raises:
        TypeError, KeyError: They are of another form.
    """
    return tuple(
        Parameter(**{**each, "choices": tuple((text, text) for text in each["choices"])})
        for each in frozen
    )


def _frozen(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "kind": parameter.kind,
        "is_required": parameter.is_required,
        "default": _frozen_default(parameter),
        "choices": [text for text, _ in parameter.choices],
        "least": parameter.least,
        "most": parameter.most,
    }


def _frozen_default(parameter: Parameter) -> str | int | float | bool | None:
    """The default as JSON; None where no value of a call equals it."""
    default = parameter.default
    if parameter.kind == "choice":
        return next((text for text, value in parameter.choices if value == default), None)
    return default if isinstance(default, str | int | float | bool) else None
