"""The tools by name: the project's own, and those from outside that the settings name.

Both are named by module and class, so that listing them imports none.
"""

import inspect
from collections.abc import Mapping
from types import MappingProxyType

from toolformer.base.names import did_you_mean
from tools.base import Tool
from tools.errors import ToolSettingsError, UnknownToolError
from tools.plugins.plugins import check_described, check_registration, load_plugin, plugin_code

_ENTRIES = {
    "QA": "tools.question_answering:QA",
    "Calculator": "tools.calculator:Calculator",
    "WikiSearch": "tools.wikipedia_search:WikiSearch",
    "MT": "tools.machine_translation:MachineTranslation",
    "Calendar": "tools.calendar:Calendar",
}
TOOL_NAMES: tuple[str, ...] = tuple(_ENTRIES)
# `all` names the partitions of all tools together.
_TAKEN = frozenset({*_ENTRIES, "all"})
_NO_TARGETS: Mapping[str, str] = MappingProxyType({})


def tool_names(targets: Mapping[str, str] = _NO_TARGETS) -> tuple[str, ...]:
    """Return the names of all tools: the project's own, then the others in order.

    Args:
        targets: Name to `module:Class` of the tools from outside.

    Raises:
        ToolRegistrationError: If one of these has a name or target that cannot be used.
    """
    for name, target in targets.items():
        check_registration(name, target, taken=_TAKEN)
    return (*TOOL_NAMES, *sorted(targets))


def create_tool(
    name: str,
    settings: Mapping[str, object] | None = None,
    *,
    targets: Mapping[str, str] = _NO_TARGETS,
) -> Tool:
    """Create a tool.

    Args:
        settings: Keyword arguments of the tool's constructor. If that takes a `name`, it gets the
            tool's own.

    Raises:
        UnknownToolError: If no tool has the name.
        ToolSettingsError: If a setting is unknown, missing or has a wrong value.
        ToolUnavailableError: If the tool cannot be imported or created.

    Example:
        >>> create_tool("Calculator", {"decimals": 4}).description
        'Works out an expression of numbers, + - * / and brackets.'
    """
    check_tool_name(name, targets=targets)
    target, settings = _ENTRIES.get(name) or targets[name], dict(settings or {})
    loaded = load_plugin(name, target)
    if not isinstance(loaded, type):
        if settings:
            raise ToolSettingsError(
                f"{name} was given the settings {', '.join(map(repr, settings))}, but {target} is "
                "a tool that is ready, which has none. Remove them, or name a class."
            )
        return loaded
    signature = inspect.signature(loaded)
    if "name" in signature.parameters:
        settings.setdefault("name", name)
    try:
        signature.bind(**settings)
    except TypeError as error:
        available = ", ".join(signature.parameters) or "none"
        raise ToolSettingsError(f"{name}: {error}. Its settings: {available}.") from error
    with plugin_code(name, f"{target}()"):
        return loaded(**settings)


def check_tool_name(name: str, *, targets: Mapping[str, str] = _NO_TARGETS) -> None:
    """Raise UnknownToolError, which suggests the nearest name, if no tool has this name."""
    if name not in _ENTRIES and name not in (known := tool_names(targets)):
        raise UnknownToolError(
            f"Unknown tool {name!r}.{did_you_mean(name, known)} Available: {', '.join(known)}."
        )


def is_plugin(name: str) -> bool:
    """Return whether a tool comes from outside this project."""
    return name not in _ENTRIES


def check_usable(tool: Tool, name: str) -> None:
    """Raise ToolUnavailableError if a tool cannot run here, or does not describe itself."""
    if not is_plugin(name):
        tool.check_available()
        return
    with plugin_code(name, "its check whether it can run"):
        tool.check_available()
        check_described(tool, name)
