"""Imports tools from outside this project and reports what is wrong with them.

The settings register a tool (`tools.NAME.class`). An error in its module makes the tool unavailable
and never ends a run.
"""

import importlib
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolformer.base.names import did_you_mean
from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    PromptError,
    ToolError,
    ToolRegistrationError,
    ToolSettingsError,
    ToolUnavailableError,
)
from tools.plugins.user_files import NON_USER_FOLDERS, is_user_code
from tools.syntax import check_arguments, is_tool_name

_TARGET = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")


def check_registration(name: str, target: str, *, taken: frozenset[str]) -> None:
    """Raise ToolRegistrationError if name or target is invalid, without importing the target."""
    if not is_tool_name(name):
        raise ToolRegistrationError(
            f"The tool {name!r}, registered as {target}, cannot be called by this name. Expected "
            "ASCII letters, digits and '_', not beginning with a digit. Register it under such a "
            "name."
        )
    # Names that differ only by case would share partitions on file systems that ignore case.
    clashes = [other for other in sorted(taken) if other.lower() == name.lower()]
    if clashes:
        raise ToolRegistrationError(
            f"The tool {name!r}, registered as {target}, has the name of the built-in "
            f"{clashes[0]!r}, which cannot be replaced. Register it under another name."
        )
    if _TARGET.fullmatch(target) is None:
        raise ToolRegistrationError(
            f"The tool {name!r} is registered as {target!r}. Expected a module and a class in it, "
            "as in 'my_tools:UnitConverter'."
        )


def load_plugin(name: str, target: str) -> type[Tool] | Tool:
    """Import a plugin's target; raise ToolUnavailableError if it is not a tool."""
    module, _, attributes = target.partition(":")
    with plugin_code(name, f"the import of {target}"):
        found: object = importlib.import_module(module)
        for attribute in attributes.split("."):
            if not hasattr(found, attribute):
                hint = did_you_mean(attribute, dir(found))
                raise ToolUnavailableError(
                    name,
                    f"{module} has no {attributes!r}",
                    f"{hint} Correct its class in the settings".strip(),
                )
            found = getattr(found, attribute)
    if isinstance(found, Tool) or (isinstance(found, type) and issubclass(found, Tool)):
        return found
    raise ToolUnavailableError(
        name,
        f"{target} is {type(found).__name__} {getattr(found, '__name__', found)!r}, not a tool",
        "Derive the class from tools.base.Tool, or wrap the function in a "
        "tools.plugins.function_tool.FunctionTool",
    )


def parse_arguments(tool: Tool, text: str) -> str:
    """Normalise the arguments of a call with the tool's own method, which may misbehave."""
    try:
        arguments: object = tool.parse_arguments(text)
    except ToolError:
        raise
    except Exception as error:
        raise CallSyntaxError(
            "parse_error",
            f"{tool.name}.parse_arguments raised {type(error).__name__} for {text!r}: {error}. "
            "Expected a CallSyntaxError for texts that are not calls.",
        ) from error
    is_line = isinstance(arguments, str) and len(arguments.splitlines()) <= 1
    # An unpaired surrogate cannot be encoded as UTF-8.
    if not is_line or re.search("[\ud800-\udfff]", arguments):
        raise CallSyntaxError(
            "parse_error",
            f"{tool.name}.parse_arguments returned {arguments!r} for {text!r}. Expected one line "
            "of text.",
        )
    check_arguments(arguments)
    return arguments


def error_location(error: BaseException) -> str:
    """Return where an error was raised, as the insertion ` (my_tools.py:12 in call)`, or ""."""
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith(("<", *NON_USER_FOLDERS))]
    own = [frame for frame in frames if is_user_code(frame.filename)]
    for frame in (own if isinstance(error, ToolError) else own or frames)[-1:]:
        return f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    return ""


@contextmanager
def plugin_code(tool_name: str, what: str) -> Iterator[None]:
    """Turn any error of a plugin's code inside the block into a ToolUnavailableError."""
    try:
        yield
    except (PromptError, ToolSettingsError) as error:
        raise type(error)(f"{error}{error_location(error)}") from error
    except ToolError:
        raise
    except ImportError as error:
        raise ToolUnavailableError(
            tool_name,
            f"{what} failed: {error}{error_location(error)}",
            "Install what is missing, or put the folder of its file into PYTHONPATH",
        ) from error
    # A plugin may raise anything, and its module may even call sys.exit.
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        raise ToolUnavailableError(
            tool_name,
            f"{what} failed with {type(error).__name__}: {message}{error_location(error)}",
            "Correct the tool, or leave it out of the selected tools",
        ) from error


def check_description(tool: Tool, name: str) -> None:
    """Raise ToolUnavailableError if a plugin's name, version or description is invalid."""
    for attribute in ("name", "version", "description"):
        value = getattr(tool, attribute, None)
        if not isinstance(value, str) or not value.strip():
            raise ToolUnavailableError(
                name,
                f"its {attribute} is {value!r}, not a text",
                f"Give the class an attribute `{attribute}`",
            )
    if tool.name != name:
        raise ToolUnavailableError(
            name,
            f"it calls itself {tool.name!r}",
            f"Register it as {tool.name}, or change its name",
        )
    # The property may raise an error. The text of the prompt is checked when it is read.
    _ = tool.prompt
