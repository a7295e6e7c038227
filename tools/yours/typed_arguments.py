"""Arguments with types, as calls write them: `12.5, metre` or `12.5, unit=metre`.

    text of a call  ->  values by parameter  ->  text in its one normal form

Values are separated by commas and come in the order of the parameters; from the first
`name=value` on, all are named. A text that holds a comma stands in quotes. The normal form is the
same for all texts that mean the same call: defaults are left out, numbers have no superfluous
digits, and quotes stand only where they are needed. Does not call anything.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tools.errors import CallSyntaxError
from tools.syntax import check_arguments, strip_quotes

Kind: TypeAlias = Literal["text", "integer", "number", "boolean", "choice"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][+-]?[0-9]{1,3})?")
_NAMED = re.compile(r"([^\W\d][\w-]*)\s*=\s*")
_TRUTH_VALUES = {"true": True, "false": False}
_QUOTES = ('"', "'")
# All characters that may open a pair of quotes; one in front of a value asks for quotes around it.
_OPENING_QUOTES = "\"'“‘«„"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that a tool takes.

    Attributes:
        name: As in `name=value`.
        kind: What its text is read as.
        is_required: Whether a call must have it.
        default: What stands for it in a call without it; means nothing where it is required.
        choices: Text of each choice and the value that it stands for; for the kind `choice` only.
        least, most: Smallest and largest number; None for no limit.
    """

    name: str
    kind: Kind
    is_required: bool = True
    default: object = None
    choices: tuple[tuple[str, object], ...] = ()
    least: float | None = None
    most: float | None = None

    def read(self, text: str) -> object:
        """Read one value.

        Args:
            text: The text of the value, without quotes around it.

        Returns:
            The value: text, a whole number, a finite number, a truth value, or what a choice
            stands for.

        Raises:
            CallSyntaxError: With reason `wrong_value`.

        Example:
            >>> Parameter("count", "integer").read("012")
            12
        """
        value: object = None
        if self.kind == "text":
            value = text or None
        elif self.kind == "integer" and _INTEGER.fullmatch(text):
            value = int(text)
        elif self.kind == "number" and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            value = float(text)
        elif self.kind == "boolean":
            value = _TRUTH_VALUES.get(text.lower())
        elif self.kind == "choice":
            return self._chosen(text)
        if value is None or not self._is_in_range(value):
            raise CallSyntaxError(
                "wrong_value", f"The argument {self.name} is {text!r}. Expected {self.expected}."
            )
        return value

    def write(self, value: object) -> str:
        """Write a value in its normal form, without quotes around it.

        Example:
            >>> [Parameter("x", "number").write(value) for value in (3.0, 0.25, 1e30)]
            ['3', '0.25', '1e+30']
        """
        if self.kind == "boolean":
            return str(value).lower()
        if self.kind == "number":
            return repr(value).removesuffix(".0")
        if self.kind == "choice":
            return next(
                text for text, each in self.choices if type(each) is type(value) and each == value
            )
        return str(value)

    @property
    def expected(self) -> str:
        """What a value has to be, for messages."""
        if self.kind == "choice":
            return f"one of {', '.join(text for text, _ in self.choices)}"
        limits = [
            *([f"at least {self.least:g}"] if self.least is not None else []),
            *([f"at most {self.most:g}"] if self.most is not None else []),
        ]
        what = {
            "text": "a text that is not empty",
            "integer": "a whole number",
            "number": "a number",
            "boolean": "true or false",
        }[self.kind]
        return " of ".join([what, " and ".join(limits)]) if limits else what

    def _chosen(self, text: str) -> object:
        by_text = dict(self.choices)
        if text in by_text:
            return by_text[text]
        alike = [value for choice, value in self.choices if choice.lower() == text.lower()]
        if len(alike) == 1:
            return alike[0]
        raise CallSyntaxError(
            "wrong_value", f"The argument {self.name} is {text!r}. Expected {self.expected}."
        )

    def _is_in_range(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return True
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


def read_arguments(text: str, parameters: Sequence[Parameter]) -> dict[str, object]:
    """Read the arguments of a call.

    Args:
        text: The text between the brackets.
        parameters: What the tool takes, required ones first.

    Returns:
        Value by name; parameters that the call leaves out are not in it. Where the only parameter
        is a text, everything is its value, commas included.

    Raises:
        CallSyntaxError: With reason `wrong_value`, `missing_argument`, `too_many_arguments`,
            `unknown_argument`, `argument_given_twice`, `unnamed_after_named`, `quote_not_closed`,
            `bracket_in_arguments` or `arrow_in_arguments`.

    Example:
        >>> parameters = [Parameter("amount", "number"), Parameter("unit", "text")]
        >>> read_arguments("12, unit='metre'", parameters)
        {'amount': 12.0, 'unit': 'metre'}
    """
    check_arguments(text)
    text = _unquoted(" ".join(text.split()))
    names = [parameter.name for parameter in parameters]
    if [parameter.kind for parameter in parameters] == ["text"]:
        given = _named(text)
        pieces = [given if given and given[0] == names[0] else (None, text)]
        pieces = [(name, _unquoted(value)) for name, value in pieces if value]
    else:
        pieces = _pieces(text)
    values: dict[str, object] = {}
    has_named = False
    for name, value in pieces:
        if name is None and has_named:
            raise CallSyntaxError(
                "unnamed_after_named",
                f"The argument {value!r} has no name, but one before it has. Expected "
                f"{_form(parameters)}, and names from the first one on.",
            )
        if name is None and len(values) == len(parameters):
            raise CallSyntaxError(
                "too_many_arguments",
                f"The call has more arguments than the tool takes: {text!r}. Expected "
                f"{_form(parameters)}.",
            )
        has_named = name is not None
        name = name or names[len(values)]
        if name not in names:
            raise CallSyntaxError(
                "unknown_argument",
                f"There is no argument {name!r}. Expected {_form(parameters)}.",
            )
        if name in values:
            raise CallSyntaxError(
                "argument_given_twice",
                f"The argument {name} is given twice in {text!r}. Expected it once.",
            )
        values[name] = parameters[names.index(name)].read(value)
    missing = [each.name for each in parameters if each.is_required and each.name not in values]
    if missing:
        raise CallSyntaxError(
            "missing_argument",
            f"The call {text!r} has no {', '.join(missing)}. Expected {_form(parameters)}.",
        )
    return values


def write_arguments(values: Mapping[str, object], parameters: Sequence[Parameter]) -> str:
    """Write the arguments of a call in their normal form.

    Args:
        values: Value by name, from `read_arguments`.
        parameters: What the tool takes.

    Returns:
        The text between the brackets; `read_arguments` reads the same values from it, apart from
        those that equal a default.

    Raises:
        CallSyntaxError: With reason `both_quotes` when a text can be put into no kind of quotes.

    Example:
        >>> parameters = [Parameter("amount", "number"), Parameter("unit", "text")]
        >>> write_arguments({"amount": 12.0, "unit": "metre, or foot"}, parameters)
        '12, unit="metre, or foot"'
    """
    pieces: list[str] = []
    is_named = False
    only_text = [parameter.kind for parameter in parameters] == ["text"]
    for parameter in parameters:
        value = values.get(parameter.name)
        is_default = not parameter.is_required and value == parameter.default
        if parameter.name not in values or is_default:
            is_named = True
            continue
        text = parameter.write(value)
        given = _named(text)
        if only_text:
            needs_name = given is not None and given[0] == parameter.name
            return f"{parameter.name}={text}" if needs_name else text
        needs_quotes = "," in text or given is not None or text[0] in _OPENING_QUOTES
        # A text that begins with a quote would lose it as one of a pair around all arguments.
        is_named = is_named or needs_quotes
        shown = _quoted(text, parameter.name) if needs_quotes else text
        pieces.append(f"{parameter.name}={shown}" if is_named else shown)
    return ", ".join(pieces)


def _pieces(text: str) -> list[tuple[str | None, str]]:
    """Cut arguments at the commas that stand outside quotes; each piece with its name, if any."""
    pieces: list[tuple[str | None, str]] = []
    rest = text
    while rest:
        named = _named(rest)
        name, rest = named or (None, rest)
        if rest[:1] in _QUOTES:
            quote = rest[0]
            value, closing, rest = rest[1:].partition(quote)
            rest = rest.lstrip()
            if not closing or rest[:1] not in ("", ","):
                raise CallSyntaxError(
                    "quote_not_closed",
                    f"A value in {text!r} begins with {quote} and does not end with it. Expected "
                    "quotes around the whole value, or none.",
                )
            comma, rest = rest[:1], rest[1:]
        else:
            value, comma, rest = rest.partition(",")
        pieces.append((name, value.strip()))
        rest = rest.lstrip()
        if comma and not rest:
            pieces.append((None, ""))
    return pieces


def _named(text: str) -> tuple[str, str] | None:
    """Take `name=` off the front of a text, or return None where there is none."""
    match = _NAMED.match(text)
    return (match[1], text[match.end() :]) if match else None


def _unquoted(text: str) -> str:
    """Take off all pairs of enclosing quotes: those of the call and those of the value."""
    while (inner := strip_quotes(text)) != text:
        text = inner
    return text


def _quoted(text: str, name: str) -> str:
    for quote in _QUOTES:
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise CallSyntaxError(
        "both_quotes",
        f"The argument {name} is {text!r}, which needs quotes and has both kinds of them inside. "
        "Expected a text without commas or with one kind of quotes.",
    )


def _form(parameters: Sequence[Parameter]) -> str:
    """The arguments by name, optional ones in brackets, for messages."""
    names = [each.name if each.is_required else f"({each.name})" for each in parameters]
    return f"'{', '.join(names)}'" if names else "no arguments"
