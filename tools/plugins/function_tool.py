"""A tool made of a Python function of the user's.

The function is called with values of the right types; what it raises for want of an answer is data
about the call.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from pydantic import validate_call

from toolformer.files.digests import hex_digest
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.plugins.parameters import parameters_of_schema, schema_of_function
from tools.plugins.plugins import is_own_code
from tools.plugins.typed_arguments import read_arguments, write_arguments
from tools.prompting import draft_prompt
from tools.protocol import Document
from tools.syntax import is_tool_name

# Beyond, not every whole number has a float of its own.
_LARGEST_WHOLE = 1e15
# How a function says that its arguments have no answer.
# None, and what Python, numpy and pandas write of their values that are none.
_NO_VALUE = frozenset({"none", "nan", "snan", "nat", "<na>", "inf", "infinity"})
_NO_ANSWER = (ValueError, ArithmeticError, LookupError)


class FunctionTool(Tool):
    """A tool that calls a function; `from_function` makes one of a typed function.

    Args:
        name: As written in calls.
        description: One sentence for people and for the drafted prompt.
        schema: JSON schema of the arguments. What it says beyond types, choices and limits of
            numbers is not checked here.
        function: Gets the values as keyword arguments. Text is the answer as it is; a float has at
            most twelve digits, and no point where it is whole; other values are as `str` writes
            them. None, `nan`, NaT, NA and infinity mean that there is no answer, and so does a
            ValueError, ArithmeticError or LookupError.
        version: Changes whenever answers change.
        examples: Texts with calls in them, for the prompt; see `draft_prompt`. None of them
            leaves the tool without a prompt of its own.
        needs_network: Whether the function takes more than this machine.

    Raises:
        ToolSettingsError: When the name or a required parameter cannot be written in calls.
        PromptError: When an example cannot be used.
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
                None, or `Annotated` with limits of pydantic, which calls have to keep.
            examples: See the class.
            name: Else the function's own.
            description: Else the first paragraph of the docstring.
            version: Else a digest of the function's source, and of those of functions, classes and
                modules that it names, and these name, as far as they are of no package, and are
                there already: not what is defined below, or imported within a function. Give one
                where answers depend on something else, such as a file or a package.
            needs_network: See the class.

        Raises:
            ToolSettingsError: When a parameter or the description is missing what is needed, or
                the source cannot be read and there is no version.
            PromptError: When an example cannot be used.

        Example:
            >>> def repeat(word: str, times: int = 2) -> str:
            ...     '''Repeats a word.'''
            ...     return word * times
            >>> tool = FunctionTool.from_function(repeat, version="1")
            >>> tool.parse_arguments("tick, times = 03"), tool.call("tick, 3", Document("d", ""))
            ('tick, 3', 'tickticktick')
        """
        shown = getattr(function, "__name__", repr(function))
        description = description or (inspect.getdoc(function) or "").split("\n\n")[0]
        if not description.strip():
            raise ToolSettingsError(
                f"The function {shown} has no docstring. Expected one that says what the function "
                "does, or `description=`."
            )
        return cls(
            name=name or shown,
            description=description,
            schema=schema_of_function(function, shown),
            # It gets values of the types that it names, such as members of an Enum.
            function=validate_call(function),
            version=version or _source_version(function, shown),
            examples=examples,
            needs_network=needs_network,
        )

    def parse_arguments(self, text: str) -> str:
        """Read the arguments by their types and write them in their normal form.

        Raises:
            CallSyntaxError: As `read_arguments` and `write_arguments`.
        """
        return write_arguments(read_arguments(text, self.parameters), self.parameters)

    def named_arguments(self, arguments: str) -> Mapping[str, Any]:
        """The values of a call by parameter, as JSON holds them; raises as `read_arguments`."""
        return read_arguments(arguments, self.parameters)

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Call the function.

        Raises:
            ToolCallError: With reason `no_answer`, or the error's name such as `value_error`.
        """
        try:
            values = read_arguments(arguments, self.parameters)
        except CallSyntaxError as error:
            raise ToolCallError(error.reason, error.message) from error
        try:
            answer = self.function(**values)
        except ToolCallError:
            raise
        except _NO_ANSWER as error:
            raise ToolCallError(
                _snake_case(type(error).__name__),
                f"{self.name} has no answer to {arguments!r}: {error}",
            ) from error
        if not isinstance(answer, str) and str(answer).lstrip("+-").lower() in _NO_VALUE:
            raise ToolCallError("no_answer", f"{self.name} has no answer to {arguments!r}.")
        return _number_text(answer) if isinstance(answer, float) else str(answer)


def _number_text(number: float) -> str:
    """Write a number for a model that reads digits: 42 and not 42.0, 0.3 for 0.1 + 0.2."""
    if number.is_integer() and abs(number) < _LARGEST_WHOLE:
        return str(int(number))
    return f"{number:.12g}"


def _source_version(function: Callable[..., object], shown: str) -> str:
    function = inspect.unwrap(function)
    try:
        # From Python 3.13 on, the text behind `python -c` is taken for that of any such file.
        if inspect.getfile(function) == "<string>":
            raise OSError("it was made by `exec` or `python -c`")
        source = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise ToolSettingsError(
            f"The source of the function {shown} cannot be read, so it has no version: {error}. "
            "Give one with `version=`."
        ) from error
    return f"source {hex_digest(source, *_sources_of_helpers(function, source), size=8)}"


def _sources_of_helpers(function: Callable[..., object], source: str) -> list[str]:
    """The sources of the user's own functions, classes and modules that one names, sorted."""
    seen, found = {id(function)}, set[str]()
    waiting = _named_in(function, source)
    while waiting:
        helper = waiting.pop()
        if id(helper) in seen:
            continue
        seen.add(id(helper))
        try:
            file = inspect.getfile(helper)
            # Of "<string>", as what `dataclass` makes has it, Python 3.13 gives the text behind
            # `python -c`. Of packages nothing is read: it would take minutes.
            if file.startswith("<") or not is_own_code(str(Path(file).resolve())):
                continue
            source = inspect.getsource(helper)
        # A module of C, or what was made by `exec`.
        except (OSError, TypeError):
            continue
        found.add(source)
        waiting += _named_in(helper, source)
    return sorted(found)


def _named_in(thing: Any, source: str) -> list[Any]:
    """The functions, classes and modules that code names; of a class its bases' and methods'."""
    words = set(re.findall(r"\w+", source))
    if inspect.isfunction(thing):
        code, names = [thing.__code__], set[str]()
        while code:
            one = code.pop()
            names.update(one.co_names)
            code += [constant for constant in one.co_consts if inspect.iscode(constant)]
        values = [thing.__globals__[name] for name in sorted(names & thing.__globals__.keys())]
        values += [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
    elif inspect.isclass(thing):
        values = [*thing.__bases__, *map(_function_of, vars(thing).values())]
    else:
        submodules = _submodules(thing)
        values = [
            value for name, value in vars(thing).items() if name not in submodules or name in words
        ]
    # Of decorated functions those within; other objects may have whatever attribute is asked for.
    values = [inspect.unwrap(value) if _is_routine(value) else value for value in values]
    kinds = (inspect.isfunction, inspect.isclass, inspect.ismodule)
    named = [value for value in values if any(is_kind(value) for is_kind in kinds)]
    # A package also holds the modules that others import of it: only those that are named count.
    for each in named:
        if inspect.ismodule(each):
            named += [module for name, module in _submodules(each).items() if name in words]
    return named


def _submodules(module: ModuleType) -> dict[str, ModuleType]:
    """The modules of a package that are imported by now, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.ismodule(value) and value.__name__ == f"{module.__name__}.{name}"
    }


def _function_of(attribute: Any) -> Any:
    """The function behind what a class holds, where it is one of a class or of a property."""
    if isinstance(attribute, property):
        return attribute.fget
    return attribute.__func__ if isinstance(attribute, classmethod) else attribute


def _is_routine(value: object) -> bool:
    return callable(value) and type(value).__module__ in {"builtins", "functools"}


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _snake_case(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
