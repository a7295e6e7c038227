"""The tools by name: those of this project and of the settings.

Entries name a module and a class, so that listing the tools imports none of them.
"""

import importlib
import inspect
from collections.abc import Mapping
from types import MappingProxyType

from toolformer.base.names import did_you_mean
from tools.base import Tool
from tools.errors import ToolSettingsError, UnknownToolError
from tools.plugins.plugins import check_described, check_registration, load_plugin, plugin_code

_ENTRIES: Mapping[str, str] = MappingProxyType(
    {
        "QA": "tools.question_answering:QA",
        "Calculator": "tools.calculator:Calculator",
        "WikiSearch": "tools.wikipedia_search:WikiSearch",
        "MT": "tools.machine_translation:MachineTranslation",
        "Calendar": "tools.calendar:Calendar",
    }
)

TOOL_NAMES: tuple[str, ...] = tuple(_ENTRIES)
"""The tools of this project; `tool_names` also has those from outside."""

# Partitions of all tools together have this name.
_TAKEN = frozenset({*_ENTRIES, "all"})
_NO_TARGETS: Mapping[str, str] = MappingProxyType({})


def tool_names(targets: Mapping[str, str] = _NO_TARGETS) -> tuple[str, ...]:
    """List all tools without importing them: the project's own, then the others by name.

    Args:
        targets: Name to `module:Class` of tools that the settings name.

    Raises:
        ToolRegistrationError: When a tool from outside is registered under a name that cannot be
            used.
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
        settings: Keyword arguments of the tool's constructor. The class of a plugin whose
            constructor takes a `name` gets the tool's own.

    Raises:
        UnknownToolError: When no tool has the name.
        ToolSettingsError: When the tool does not have one of the settings, lacks one that it
            needs, or cannot use a value.
        ToolUnavailableError: When a tool from outside cannot be imported or created.

    Example:
        >>> create_tool("Calculator", {"decimals": 4}).description
        'Works out an expression of numbers, + - * / and brackets.'
    """
    check_tool_name(name, targets=targets)
    settings = dict(settings or {})
    if is_plugin(name):
        return _create_plugin(name, targets[name], settings)
    module_name, _, class_name = _ENTRIES[name].partition(":")
    tool_class = getattr(importlib.import_module(module_name), class_name)
    _check_settings(name, settings, inspect.signature(tool_class))
    return tool_class(**settings)


def check_tool_name(name: str, *, targets: Mapping[str, str] = _NO_TARGETS) -> None:
    """Check that a tool has this name, without importing it.

    Raises:
        UnknownToolError: When no tool has the name; the message suggests the nearest one.
    """
    if name in _ENTRIES:
        return
    known = tool_names(targets)
    if name not in known:
        raise UnknownToolError(
            f"Unknown tool {name!r}.{did_you_mean(name, known)} Available: {', '.join(known)}."
        )


def is_plugin(name: str) -> bool:
    """Whether a tool of this name comes from outside this project."""
    return name not in _ENTRIES


def check_usable(tool: Tool, name: str) -> None:
    """Check that a tool can run here, before anything expensive.

    Raises:
        ToolUnavailableError: When the tool cannot run, or comes from outside and does not say of
            itself what it should.
    """
    if not is_plugin(name):
        tool.check_available()
        return
    with plugin_code(name, "its check whether it can run"):
        tool.check_available()
        check_described(tool, name)


def _create_plugin(name: str, target: str, settings: dict[str, object]) -> Tool:
    """Import a plugin and make the tool; a tool that is ready is taken as it is."""
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
    _check_settings(name, settings, signature)
    with plugin_code(name, f"{target}()"):
        return loaded(**settings)


def _check_settings(
    tool_name: str, settings: Mapping[str, object], signature: inspect.Signature
) -> None:
    """Check the names of settings against a constructor."""
    try:
        signature.bind(**settings)
    except TypeError as error:
        available = ", ".join(signature.parameters) or "none"
        raise ToolSettingsError(f"{tool_name}: {error}. Its settings: {available}.") from error
