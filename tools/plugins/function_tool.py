"""Makes a tool from a Python function.

Arguments are converted to the types of the function's parameters. The name of an exception becomes
the reason why a call has no result.
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

# Floats above this limit may skip whole numbers.
_MAX_WHOLE = 1e15
# Part of the default text of an object, such as a generator.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")
# Texts of missing values in Python, numpy and pandas.
_MISSING_VALUES = frozenset({"none", "nan", "snan", "nat", "<na>", "inf", "infinity"})
_NO_ANSWER = (ValueError, ArithmeticError, LookupError)


class FunctionTool(Tool):
    """A tool that calls a function; use `from_function` for a typed function.

    Args:
        description: One sentence for people and for the drafted prompt.
        schema: JSON schema of the arguments. Only types, choices and limits of numbers are checked.
        function: Receives the values as keyword arguments. Answers are written with `str`, floats
            with at most twelve digits. None, `nan`, NaT, NA, infinity, a ValueError, an
            ArithmeticError or a LookupError mean that there is no answer.
        version: Must change whenever answers change.
        examples: Texts with calls, for the prompt; see `draft_prompt`.
        needs_network: Whether the function uses the network.
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
                "and '_', not beginning with a digit. Give it another name with `name=`."
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
        """Make a tool from a typed function.

        Name and description are by default those of the function and its docstring.

        Args:
            function: Its parameters must be str, int, float, bool, Literal or Enum, optionally with
                None or with pydantic's limits in `Annotated`.
            version: By default a digest of the user's files: the function's, the one that makes the
                tool, and all that they import. Pass a version if answers also depend on data, a
                package or a dynamic import.

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
                f"{shown} is asynchronous, or not a Python function. Expected a function that "
                "returns its answer. Wrap it in such a function."
            )
        description = description or (inspect.getdoc(inner) or "").split("\n\n")[0]
        if not description.strip():
            raise ToolSettingsError(
                f"The function {shown} has no docstring. Expected a docstring that says what the "
                "function does. Write one, or pass `description=`."
            )

        # Pydantic cannot read the results of `lru_cache` and `partial`.
        @functools.wraps(inner)
        def called(**values: object) -> object:
            return function(**values)

        setattr(called, "__signature__", inspect.signature(function))  # noqa: B010
        tool = cls(
            name=name or shown,
            description=description,
            schema=schema_of_function(called, shown),
            # Converts values to the annotated types, such as members of an Enum.
            function=validate_call(called),
            version=version or _source_version(inner, shown, inspect.stack(0)[1].frame),
            examples=examples,
            needs_network=needs_network,
        )
        if cls is FunctionTool:
            # Parsing depends only on the schema, so another version does not require new samples.
            tool.sampling_version = f"1 {hex_digest(json.dumps(tool.argument_schema), size=8)}"
        return tool

    def parse_arguments(self, text: str) -> str:
        return write_arguments(read_arguments(text, self.parameters), self.parameters)

    def named_arguments(self, arguments: str) -> Mapping[str, Any]:
        return read_arguments(arguments, self.parameters)

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Call the function; raise ToolCallError with reason `no_answer` or, say, `value_error`."""
        values = read_arguments(arguments, self.parameters)
        try:
            answer = self.function(**values)
        except ToolCallError:
            raise
        except _NO_ANSWER as error:
            reason = re.sub("(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
            message = f"{self.name} has no answer to {arguments!r}: {error}"
            raise ToolCallError(reason, message) from error
        if not isinstance(answer, str) and str(answer).lstrip("+-").lower() in _MISSING_VALUES:
            raise ToolCallError("no_answer", f"{self.name} has no answer to {arguments!r}.")
        text = _number_text(answer) if isinstance(answer, float) else str(answer)
        if isinstance(answer, set | frozenset) or (answer is not text and _ADDRESS.search(text)):
            raise TypeError(
                f"{self.name} answered with a {type(answer).__name__}, whose text differs in each "
                f"process: {text[:80]!r}. Expected a text or a number."
            )
        return text


def _number_text(number: float) -> str:
    """Write a float as short as possible: 42 instead of 42.0, 0.3 for 0.1 + 0.2."""
    if number.is_integer() and abs(number) < _MAX_WHOLE:
        return str(int(number))
    return f"{number:.12g}"


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function := inspect.unwrap(function), functools.partial):
        function = function.func
    return function


def _source_version(function: Callable[..., Any], shown: str, maker: FrameType) -> str:
    try:
        roots = {Path(inspect.getfile(function)): function.__globals__.get("__package__")}
        # The file that makes the tool may contain values of a closure. A notebook has no file.
        if (file := Path(maker.f_code.co_filename)).is_file():
            roots[file] = maker.f_globals.get("__package__")
        parts = (function.__qualname__, *digests_of_user_files(roots))
        return f"files {hex_digest(*parts, size=8)}"
    except OSError as error:
        raise ToolSettingsError(
            f"The function {shown} is not in a readable file, so it has no version: {error}. "
            "Pass one with `version=`."
        ) from error
