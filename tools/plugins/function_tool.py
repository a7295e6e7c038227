"""A tool made of a Python function.

The function is called with values of the right types. What it raises if there is no answer becomes
the reason of a call without a result.
"""

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

from pydantic import validate_call

from toolformer.base.digests import hex_digest
from tools.base import Tool
from tools.errors import ToolCallError, ToolSettingsError
from tools.plugins.parameters import omitted_arguments, parameters_of_schema, schema_of_function
from tools.plugins.typed_arguments import read_arguments, write_arguments
from tools.plugins.user_files import digests_of_user_files
from tools.prompting import draft_prompt
from tools.protocol import Document
from tools.syntax import is_tool_name

# Above, floats do not represent every whole number.
_LARGEST_WHOLE = 1e15
# In the text of an object without a text of its own, such as a generator.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")
# How Python, numpy and pandas write missing values.
_NO_VALUE = frozenset({"none", "nan", "snan", "nat", "<na>", "inf", "infinity"})
_NO_ANSWER = (ValueError, ArithmeticError, LookupError)


class FunctionTool(Tool):
    """A tool that calls a function; `from_function` makes one of a typed function.

    Args:
        name: As written in calls.
        description: One sentence for people and for the drafted prompt.
        schema: JSON schema of the arguments. Only types, choices and limits of numbers are checked.
        function: Gets the values as keyword arguments. A float of its answer is written with at
            most twelve digits, other values as by `str`. None, `nan`, NaT, NA, infinity, a
            ValueError, ArithmeticError and LookupError mean that there is no answer.
        version: Changes whenever answers change.
        examples: Texts with calls in them, for the prompt; see `draft_prompt`.
        needs_network: Whether the function takes more than this machine.

    Raises:
        ToolSettingsError: If the name or a required parameter cannot be written in calls.
        PromptError: If an example cannot be used.
    """

    def __init__(
        self,
        *,
        name: str,
        description: str,
        schema: Mapping[str, Any],
        function: Callable[..., object],
        version: str,
        examples: Sequence[str] = (),
        needs_network: bool = False,
    ) -> None:
        if not is_tool_name(name):
            raise ToolSettingsError(
                f"The tool {name!r} cannot be called by this name. Expected ASCII letters, digits "
                "and '_', without a digit in front; give it another with `name=`."
            )
        self.name = name
        self.description = " ".join(description.split())
        self.parameters = tuple(parameters_of_schema(schema, name))
        self.argument_schema = schema
        self.omitted_arguments = omitted_arguments(schema, self.parameters)
        self.function = function
        self.version = version
        self.needs_network = needs_network
        self.takes_arguments = bool(self.parameters)
        if examples:
            shown = [parameter.name for parameter in self.parameters]
            self.prompt = draft_prompt(name, self.description, examples, parameters=shown)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., object],
        *,
        examples: Sequence[str] = (),
        name: str | None = None,
        description: str | None = None,
        version: str | None = None,
        needs_network: bool = False,
    ) -> Self:
        """Make a tool of a typed function.

        Args:
            function: Its parameters are str, int, float, bool, Literal or Enum, one of these or
                None, or `Annotated` with limits of pydantic.
            name: By default the function's own.
            description: By default the first paragraph of the docstring.
            version: By default a digest of the user's files: the function's, the one that makes the
                tool, and those that they import. Pass one if answers also depend on data, a package
                or a dynamic import.

        Raises:
            ToolSettingsError: If a parameter cannot be written in calls, or there is no description
                or source of a version.
            PromptError: If an example cannot be used.

        Example:
            >>> def repeat(word: str, times: int = 2) -> str:
            ...     '''Repeats a word.'''
            ...     return word * times
            >>> tool = FunctionTool.from_function(repeat, version="1")
            >>> tool.parse_arguments("tick, times = 03"), tool.call("tick, 3", Document("d", ""))
            ('tick, 3', 'tickticktick')
        """
        inner = _innermost(function)
        shown = getattr(inner, "__name__", repr(inner))
        is_function = inspect.isfunction(inner) or inspect.ismethod(inner)
        if not is_function or inspect.iscoroutinefunction(function):
            raise ToolSettingsError(
                f"{shown} is asynchronous, or no function of Python. Expected one that returns its "
                "answer; wrap it in one that does."
            )
        description = description or (inspect.getdoc(inner) or "").split("\n\n")[0]
        if not description.strip():
            raise ToolSettingsError(
                f"The function {shown} has no docstring. Expected one that says what the function "
                "does, or `description=`."
            )

        # Pydantic cannot read what `lru_cache` and `partial` make.
        @functools.wraps(inner)
        def called(**values: object) -> object:
            return function(**values)

        setattr(called, "__signature__", inspect.signature(function))  # noqa: B010
        tool = cls(
            name=name or shown,
            description=description,
            schema=schema_of_function(called, shown),
            # It gets values of the types that it names, such as members of an Enum.
            function=validate_call(called),
            version=version or _source_version(inner, shown, inspect.stack(0)[1].frame),
            examples=examples,
            needs_network=needs_network,
        )
        if cls is FunctionTool:
            # Calls are read by the schema alone: another version makes them again, no more.
            tool.sampling_version = f"1 {hex_digest(json.dumps(tool.argument_schema), size=8)}"
        return tool

    def parse_arguments(self, text: str) -> str:
        """Read the arguments by their types and write them in their normal form.

        Raises:
            CallSyntaxError: As `read_arguments` and `write_arguments`.
        """
        return write_arguments(read_arguments(text, self.parameters), self.parameters)

    def named_arguments(self, arguments: str) -> Mapping[str, Any]:
        """Return the values of a call by parameter; raise as `read_arguments`."""
        return read_arguments(arguments, self.parameters)

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Call the function.

        Raises:
            ToolCallError: With reason `no_answer`, or the error's name such as `value_error`.
            CallSyntaxError: As `read_arguments`.
        """
        values = read_arguments(arguments, self.parameters)
        try:
            answer = self.function(**values)
        except ToolCallError:
            raise
        except _NO_ANSWER as error:
            reason = re.sub("(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
            said = f"{self.name} has no answer to {arguments!r}: {error}"
            raise ToolCallError(reason, said) from error
        if not isinstance(answer, str) and str(answer).lstrip("+-").lower() in _NO_VALUE:
            raise ToolCallError("no_answer", f"{self.name} has no answer to {arguments!r}.")
        text = _number_text(answer) if isinstance(answer, float) else str(answer)
        if isinstance(answer, set | frozenset) or (answer is not text and _ADDRESS.search(text)):
            raise TypeError(
                f"{self.name} answered with a {type(answer).__name__}, another text in each "
                f"process: {text[:80]!r}. Expected a text, a number or the like."
            )
        return text


def _number_text(number: float) -> str:
    """Write a number for a model that reads digits: 42 and not 42.0, 0.3 for 0.1 + 0.2."""
    if number.is_integer() and abs(number) < _LARGEST_WHOLE:
        return str(int(number))
    return f"{number:.12g}"


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that decorators and `partial` were given."""
    while isinstance(function := inspect.unwrap(function), functools.partial):
        function = function.func
    return function


def _source_version(function: Callable[..., Any], shown: str, maker: FrameType) -> str:
    try:
        roots = {Path(inspect.getfile(function)): function.__globals__.get("__package__")}
        # The maker has the values of a closure. A notebook has no file.
        if (file := Path(maker.f_code.co_filename)).is_file():
            roots[file] = maker.f_globals.get("__package__")
        parts = (function.__qualname__, *digests_of_user_files(roots))
        return f"files {hex_digest(*parts, size=8)}"
    except OSError as error:
        raise ToolSettingsError(
            f"The function {shown} is in no file that can be read, so it has no version: {error}. "
            "Give one with `version=`."
        ) from error
