"""Implements the Calculator: basic operations on exact numbers (paper, §3 and appendix A).

Expressions are never evaluated as Python code; only a few kinds of syntax nodes are allowed.
"""

import ast
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from operator import add, mul, neg, pos, sub, truediv
from typing import Annotated, Any

from pydantic import Field

from tools.base import Tool, with_checked_settings
from tools.errors import ToolCallError
from tools.number_rules import preselect_by_numbers, propose_numbers
from tools.numbers import NUMBER, NumberError, digits_of, plain, rounded
from tools.protocol import Document, Preselection, Proposal

_BINARY = {ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.Div: truediv}
_OPERATIONS: dict[type, Callable[..., Any]] = {**_BINARY, ast.USub: neg, ast.UAdd: pos}
# Limits of an expression: characters, nested brackets or consecutive signs, absolute value.
_MAX_CHARACTERS, _MAX_DEPTH, _MAX_MAGNITUDE = 100, 20, 10**15
_LIMITS = (
    f"max_characters={_MAX_CHARACTERS} max_depth={_MAX_DEPTH} "
    f"max_magnitude={float(_MAX_MAGNITUDE)!r}"
)

# Expressions contain no sentences, so the point of `5.` belongs to the number.
_OPERAND = re.compile(rf"{NUMBER}\.?")
_SIGNS = str.maketrans({**dict.fromkeys("×⋅∙∗✕✖", "*"), **dict.fromkeys("÷∕⁄", "/")})
# The x of 0x10 does not multiply: most languages read 0x10 as sixteen.
_TIMES = re.compile(r"(?<=[0-9)])(?<!(?<![0-9.,])0)(\s*)[xX](?=\s*[-0-9.(])")
_ALLOWED_CHARACTERS = frozenset("0123456789+-*/() ")
_OTHER_OPERATORS = frozenset("%^&|~@<>=!⁰¹²³⁴⁵⁶⁷⁸⁹")

_EXPECTED = "Expected numbers, + - * / and brackets, as in '(5 + 1) * 3'."
_MESSAGES = {
    "empty": "The expression is empty. Expected a calculation such as '6 * 7'.",
    "too_long": f"The expression has {{}} characters. Expected at most {_MAX_CHARACTERS}.",
    "too_deep": "The expression is nested too deeply. Expected at most "
    f"{_MAX_DEPTH} levels of brackets or signs in a row.",
    "too_large": "The expression contains or results in a number above "
    f"{_MAX_MAGNITUDE:.0e}. Expected smaller numbers.",
    "operator_not_allowed": "The operator {!r} is not allowed. Expected only + - * / and brackets.",
    "division_by_zero": "The expression divides by zero. Expected another divisor.",
    "syntax_error": "The expression {}. " + _EXPECTED,
}


class Calculator(Tool):
    """Tool that evaluates expressions of numbers, `+ - * /` and brackets.

    `×`, `x` between numbers, and `·` between blanks mean `*` (`5·3` may be 5.3). `weak_share` and
    `seed` are for `preselect_by_numbers`. Results have at most `decimals` decimals (paper: 2).
    """

    name = "Calculator"
    description = "Works out an expression of numbers, + - * / and brackets."

    @with_checked_settings
    def __init__(
        self,
        *,
        weak_share: Annotated[float, Field(ge=0, le=1)] = 0.01,
        decimals: Annotated[int, Field(ge=2, le=15)] = 2,
        seed: int = 0,
    ) -> None:
        self.weak_share = weak_share
        self.decimals = decimals
        self.seed = seed
        selection = f"weak_share={float(weak_share)!r} seed={seed}"
        self.sampling_version = f"3 {selection}"
        self.proposals_version = f"4 {_LIMITS}"
        self.version = f"2 {_LIMITS} {selection} decimals={decimals}"

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        return format_number(_evaluated(arguments), decimals=self.decimals)

    def preselect(self, document: Document) -> Preselection:
        return preselect_by_numbers(document, weak_share=self.weak_share, seed=self.seed)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose numbers after "in total" etc., or after `=` with the expression before it."""
        return propose_numbers(document.text, _computes)


def format_number(value: Fraction, *, decimals: int) -> str:
    """Format a number as in the paper: an integer without decimals, else at least two.

    Example:
        >>> [format_number(Fraction(text), decimals=2) for text in ("18/7", "80", "-1/1000")]
        ['2.57', '80', '0.00']
        >>> [format_number(Fraction(text), decimals=4) for text in ("18/7", "5/8", "1/2")]
        ['2.5714', '0.625', '0.50']
    """
    if value.denominator == 1:
        return str(value.numerator)
    units = int(rounded(value, decimals) * 10**decimals)
    whole, part = divmod(abs(units), 10**decimals)
    digits = f"{part:0{decimals}d}"
    return f"{'-' if units < 0 else ''}{whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def _computes(expression: str) -> bool:
    try:
        _evaluated(expression)
    except ToolCallError:
        return False
    return True


def _evaluated(text: str) -> Fraction:
    length = len(" ".join(text.split()))
    if not length:
        raise _error("empty")
    if length > _MAX_CHARACTERS:
        raise _error("too_long", length)
    expression = _TIMES.sub(r"\1*", plain(text).translate(_SIGNS))
    if other := next((char for char in expression if char in _OTHER_OPERATORS), None):
        raise _error("operator_not_allowed", other)
    depths = accumulate((char == "(") - (char == ")") for char in expression)
    if max(depths) > _MAX_DEPTH:
        raise _error("too_deep")
    values: list[Fraction] = []

    def number_in(match: re.Match[str]) -> str:
        values.append(Fraction(digits_of(match[0].removesuffix("."))))
        return f" {len(values) - 1} "

    try:
        # Values such as 1/3 have no exact decimals, so each number is replaced by its index.
        indexed = " ".join(_OPERAND.sub(number_in, expression).replace("·", "*").split())
        if other := next((char for char in indexed if char not in _ALLOWED_CHARACTERS), None):
            raise _error("syntax_error", f"{text!r} contains {other!r}")
        return _value(ast.parse(indexed, mode="eval").body, values)
    except NumberError as error:
        raise ToolCallError(error.reason, str(error)) from error
    except SyntaxError as error:
        raise _error("syntax_error", f"{text!r} cannot be read") from error
    except ZeroDivisionError as error:
        raise _error("division_by_zero") from error


def _value(node: ast.expr, values: Sequence[Fraction], *, signs: int = 0) -> Fraction:
    if signs > _MAX_DEPTH:
        raise _error("too_deep")
    match node:
        case ast.Constant(value=int(index)):
            value = values[index]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATIONS:
            value = _OPERATIONS[type(op)](_value(operand, values, signs=signs + 1))
        case ast.BinOp(left=left, op=op, right=right):
            operands = _value(left, values), _value(right, values)
            if type(op) not in _OPERATIONS:
                raise _error("operator_not_allowed", "**" if isinstance(op, ast.Pow) else "//")
            value = _OPERATIONS[type(op)](*operands)
        case _:
            raise _error("syntax_error", "is not a calculation with numbers")
    if abs(value) > _MAX_MAGNITUDE:
        raise _error("too_large")
    return value


def _error(reason: str, *values: object) -> ToolCallError:
    return ToolCallError(reason, _MESSAGES[reason].format(*values))
