"""Reads and writes typed arguments of calls, such as `12.5, metre` or `12.5, unit=metre`.

    text of a call  ->  values by parameter  ->  text in normal form

Values are separated by commas, in the order of the parameters. After the first `name=value`, all
values are named. A text with a comma is quoted. Texts of the same call have the same normal form,
without default values, superfluous digits and unnecessary quotes.
"""

import math
import operator
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.errors import CallSyntaxError, ToolSettingsError
from tools.syntax import check_arguments, strip_quotes

# Accepted texts of each type. Python would accept more, such as `1_000` or `1.0` for an int, but
# these may mean something else.
_FORMS: Mapping[Any, tuple[re.Pattern[str], str]] = {
    # An unpaired surrogate cannot be encoded as UTF-8.
    str: (re.compile(r"[^\ud800-\udfff]+"), "a text that is not empty"),
    int: (re.compile(r"[+-]?[0-9]{1,100}"), "a whole number"),
    float: (
        re.compile(r"[+-]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][+-]?[0-9]{1,3})?"),
        "a number",
    ),
    bool: (re.compile(r"(?i)true|false"), "true or false"),
}
LIMITS: Mapping[str, Any] = {
    "minimum": operator.ge,
    "exclusiveMinimum": operator.gt,
    "maximum": operator.le,
    "exclusiveMaximum": operator.lt,
}
"""Keywords of JSON schema that limit a number, with the comparison that they require."""

_NAMED = re.compile(r"([^\W\d][\w-]*)\s*=\s*")
# A value with an optional name, and the comma after it. The possessive groups keep text that begins
# like a name or a quote from being read in another way.
_PIECE = re.compile(
    rf"""
    (?>{_NAMED.pattern})?+
    (?: "([^"]*)"  |  '([^']*)'  |  (?!["'])([^,]*) )
    \s* (,\s*|$)
    """,
    re.VERBOSE,
)
# A value that begins with one of these needs quotes.
_OPENING_QUOTES = "\"'“‘«„"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool; ToolSettingsError if values of the type cannot be written in calls.

    Args:
        type: str, int, float, bool, or a Literal of strings, numbers and booleans.
        default: Value in calls without the argument; unused if the parameter is required.
        limits: Limit of a number by keyword; see `LIMITS`.
    """

    name: str
    type: Any
    is_required: bool = True
    default: object = None
    limits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if typing.get_origin(self.type) is Literal:
            _check_choices(typing.get_args(self.type))
        elif self.type not in _FORMS:
            raise ToolSettingsError(
                f"{self.type!r} cannot be written in a call. Expected str, int, float, bool or a "
                "Literal."
            )

    def read(self, text: str) -> object:
        """Convert a text; raise CallSyntaxError with reason `wrong_value` if it is invalid."""
        if typing.get_origin(self.type) is Literal:
            choices = {value_text(value): value for value in typing.get_args(self.type)}
            matches = [choice for choice in choices if choice.lower() == text.lower()]
            if text in choices or len(matches) == 1:
                return choices[text if text in choices else matches[0]]
            expected = f"one of {', '.join(choices)}"
        else:
            form, expected = _FORMS[self.type]
            if form.fullmatch(text):
                value = text.lower() == "true" if self.type is bool else self.type(text)
                is_allowed = all(LIMITS[key](value, limit) for key, limit in self.limits.items())
                if is_allowed and value not in (math.inf, -math.inf):
                    return value
            if self.limits:
                limits = ", ".join(f"{key} {limit}" for key, limit in self.limits.items())
                expected += f" ({limits})"
        raise CallSyntaxError(
            "wrong_value", f"The argument {self.name} is {text!r}. Expected {expected}."
        )


def value_text(value: object) -> str:
    """Write a value in normal form without quotes: 3.0 as `3`, 1e30 as `1e+30`, True as `true`.

    Example:
        >>> [value_text(value) for value in (3.0, 0.25, 1e30, True)]
        ['3', '0.25', '1e+30', 'true']
    """
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def read_arguments(text: str, parameters: Sequence[Parameter]) -> dict[str, object]:
    """Read the arguments of a call and return the given values by parameter name.

    If the only parameter is a str, the whole text is its value, commas included.

    Raises:
        CallSyntaxError: With reason `wrong_value`, `missing_argument`, `too_many_arguments`,
            `unknown_argument`, `argument_given_twice`, `unnamed_after_named`, `quote_not_closed`,
            `bracket_in_arguments` or `arrow_in_arguments`.

    Example:
        >>> parameters = [Parameter("amount", float), Parameter("unit", str)]
        >>> read_arguments("12, unit='metre'", parameters)
        {'amount': 12.0, 'unit': 'metre'}
    """
    check_arguments(text)
    text = _unquoted(" ".join(text.split()))
    by_name = {parameter.name: parameter for parameter in parameters}
    if _is_only_text(parameters):
        given = _named(text)
        name, value = given if given and given[0] in by_name else (None, text)
        pieces = [(name, _unquoted(value))] if value else []
    else:
        pieces = _pieces(text)
    values: dict[str, object] = {}
    has_named = False
    for given, value in pieces:
        if given is None and has_named:
            problem = f"The argument {value!r} has no name, but one before it has"
            raise _refusal("unnamed_after_named", problem, parameters)
        if given is None and len(values) == len(parameters):
            problem = f"The call has more arguments than the tool takes: {text!r}"
            raise _refusal("too_many_arguments", problem, parameters)
        has_named = given is not None
        name = given or parameters[len(values)].name
        if name not in by_name:
            raise _refusal("unknown_argument", f"There is no argument {name!r}", parameters)
        if name in values:
            problem = f"The argument {name} is given twice in {text!r}"
            raise _refusal("argument_given_twice", problem, parameters)
        values[name] = by_name[name].read(value)
    missing = [item.name for item in parameters if item.is_required and item.name not in values]
    if missing:
        problem = f"The call {text!r} has no {', '.join(missing)}"
        raise _refusal("missing_argument", problem, parameters)
    return values


def write_arguments(values: Mapping[str, object], parameters: Sequence[Parameter]) -> str:
    """Write the arguments of a call in normal form, without values that equal a default.

    Raises:
        CallSyntaxError: With reason `both_quotes` if a text needs quotes but contains both kinds.

    Example:
        >>> parameters = [Parameter("amount", float), Parameter("unit", str)]
        >>> write_arguments({"amount": 12.0, "unit": "metre, or foot"}, parameters)
        '12, unit="metre, or foot"'
    """
    pieces: list[str] = []
    is_named = False
    for parameter in parameters:
        value = values.get(parameter.name)
        is_default = not parameter.is_required and value == parameter.default
        if parameter.name not in values or is_default:
            is_named = True
            continue
        text = value_text(value)
        given = _named(text)
        if _is_only_text(parameters):
            needs_name = given is not None and given[0] == parameter.name
            return f"{parameter.name}={text}" if needs_name else text
        needs_quotes = "," in text or given is not None or text[0] in _OPENING_QUOTES
        # A quoted text gets a name, since quotes around all arguments are removed when reading.
        is_named = is_named or needs_quotes
        shown = _quoted(text, parameter.name) if needs_quotes else text
        pieces.append(f"{parameter.name}={shown}" if is_named else shown)
    return ", ".join(pieces)


def _is_only_text(parameters: Sequence[Parameter]) -> bool:
    return [parameter.type for parameter in parameters] == [str]


def _pieces(text: str) -> list[tuple[str | None, str]]:
    """Split arguments at commas outside quotes; return each value with its name, if any."""
    pieces: list[tuple[str | None, str]] = []
    position, has_more = 0, bool(text)
    while has_more:
        match = _PIECE.match(text, position)
        if match is None:
            raise CallSyntaxError(
                "quote_not_closed",
                f"A value in {text!r} begins with a quote and does not end with it. Expected "
                "quotes around the whole value, or none.",
            )
        name, *values, comma = match.groups()
        pieces.append((name, next(value.strip() for value in values if value is not None)))
        position, has_more = match.end(), bool(comma)
    return pieces


def _named(text: str) -> tuple[str, str] | None:
    match = _NAMED.match(text)
    return (match[1], text[match.end() :]) if match else None


def _unquoted(text: str) -> str:
    while (inner := strip_quotes(text)) != text:
        text = inner
    return text


def _quoted(text: str, name: str) -> str:
    for quote in ('"', "'"):
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise CallSyntaxError(
        "both_quotes",
        f"The argument {name} is {text!r}, which needs quotes and has both kinds of them inside. "
        "Expected a text without commas or with one kind of quotes.",
    )


def _refusal(reason: str, problem: str, parameters: Sequence[Parameter]) -> CallSyntaxError:
    names = [item.name if item.is_required else f"({item.name})" for item in parameters]
    form = f"'{', '.join(names)}'; after a named argument, all others need names"
    return CallSyntaxError(reason, f"{problem}. Expected {form if names else 'no arguments'}.")


def _check_choices(choices: Sequence[object]) -> None:
    texts = [value_text(choice) for choice in choices]
    # Calls are compared with choices after white space is collapsed and brackets are rejected.
    if (
        not choices
        or not all(isinstance(choice, str | int | float) for choice in choices)
        or len(set(texts)) < len(texts)
        or not all(text and text == " ".join(text.split()) for text in texts)
        or any("[" in text or "]" in text for text in texts)
    ):
        raise ToolSettingsError(
            f"The choices are {texts!r}. Expected different numbers or texts of one line, not "
            "empty and without square brackets."
        )
