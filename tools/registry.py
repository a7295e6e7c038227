"""Finds and creates tools by name: built-in ones, and plugins that the settings name.

Tools are registered as `module:Class`, so listing the tools imports none of them.
"""

import inspect
from collections.abc import Mapping
from types import MappingProxyType

from toolformer.base.names import did_you_mean
from tools.base import Tool
from tools.errors import ToolSettingsError, UnknownToolError
from tools.plugins.plugins import check_description, check_registration, load_plugin, plugin_code

_ENTRIES = {
    "QA": "tools.question_answering:QA",
    "Calculator": "tools.calculator:Calculator",
    "WikiSearch": "tools.wikipedia_search:WikiSearch",
    "MT": "tools.machine_translation:MachineTranslation",
    "Calendar": "tools.calendar:Calendar",
}
TOOL_NAMES: tuple[str, ...] = tuple(_ENTRIES)
# `all` is reserved for the partitions of all tools together.
_RESERVED = frozenset({*_ENTRIES, "all"})
_NO_TARGETS: Mapping[str, str] = MappingProxyType({})


def tool_names(targets: Mapping[str, str] = _NO_TARGETS) -> tuple[str, ...]:
    """Return the names of all tools: the built-in ones, then those in `targets` in sorted order."""
    for name, target in targets.items():
        check_registration(name, target, taken=_RESERVED)
    return (*TOOL_NAMES, *sorted(targets))


def create_tool(
    name: str,
    settings: Mapping[str, object] | None = None,
    *,
    targets: Mapping[str, str] = _NO_TARGETS,
) -> Tool:
    """Create a tool with `settings`, and with its `name` if the constructor takes one.

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
                f"{name} has the settings {', '.join(map(repr, settings))}, but {target} is an "
                "object, which takes no settings. Remove them, or name a class."
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
            f"There is no tool {name!r}.{did_you_mean(name, known)} Expected one of "
            f"{', '.join(known)}."
        )


def is_plugin(name: str) -> bool:
    return name not in _ENTRIES


def check_usable(tool: Tool, name: str) -> None:
    """Raise ToolUnavailableError if a tool cannot run here or lacks a proper description."""
    if not is_plugin(name):
        tool.check_available()
        return
    with plugin_code(name, "its check whether it can run"):
        tool.check_available()
        check_description(tool, name)
