"""The tools by name.

Entries name a module and a class, so that listing the tools imports none of them. Does not know
settings or their defaults beyond what each tool's constructor accepts.
"""

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tools.errors import ToolSettingsError, UnknownToolError
from tools.protocol import Tool

_ENTRIES: Mapping[str, str] = MappingProxyType(
    {
        "QA": "tools.question_answering:QA",
        "Calculator": "tools.calculator:Calculator",
        "WikiSearch": "tools.wikipedia_search:WikiSearch",
        "MT": "tools.unavailable:MachineTranslation",
        "Calendar": "tools.calendar:Calendar",
    }
)

TOOL_NAMES: tuple[str, ...] = tuple(_ENTRIES)


def create_tool(name: str, settings: Mapping[str, object] | None = None) -> Tool:
    """Create a tool.

    Args:
        name: As written in calls; one of `TOOL_NAMES`.
        settings: Keyword arguments of the tool's constructor.

    Returns:
        The tool. It may still be unavailable here: ask `check_available`.

    Raises:
        UnknownToolError: When no tool has the name.
        ToolSettingsError: When the tool does not have one of the settings, lacks one that it
            needs, or cannot use a value.

    Example:
        >>> create_tool("Calculator", {"max_depth": 5}).description
        'Works out an expression of numbers, + - * / and brackets.'
    """
    check_tool_name(name)
    settings = dict(settings or {})
    module_name, _, class_name = _ENTRIES[name].partition(":")
    tool_class = getattr(importlib.import_module(module_name), class_name)
    _check_settings(name, settings, inspect.signature(tool_class))
    return tool_class(**settings)


def check_tool_name(name: str) -> None:
    """Check that a tool has this name, without importing it.

    Args:
        name: As written in calls.

    Raises:
        UnknownToolError: When no tool has the name; the message suggests the nearest one.
    """
    if name not in _ENTRIES:
        raise UnknownToolError(
            f"Unknown tool {name!r}.{_did_you_mean(name, TOOL_NAMES)} "
            f"Available: {', '.join(TOOL_NAMES)}."
        )


def _check_settings(
    tool_name: str, settings: Mapping[str, object], signature: inspect.Signature
) -> None:
    """Check the names of settings against a constructor."""
    known = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }
    for setting in settings:
        if setting not in known:
            available = f"Available: {', '.join(known)}." if known else "It has no settings."
            raise ToolSettingsError(
                f"{tool_name} has no setting {setting!r}.{_did_you_mean(setting, known)} "
                f"{available}"
            )
    for setting, parameter in known.items():
        if parameter.default is parameter.empty and setting not in settings:
            raise ToolSettingsError(
                f"{tool_name} needs the setting {setting!r}, which is not given. Add it to the "
                "tool's settings."
            )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion as a sentence with a space in front, or nothing."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    return f" Did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""
