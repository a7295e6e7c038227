"""The calculator: the four basic operations on exact numbers (paper, section 3 and appendix A).

Nothing is evaluated as Python: an expression is parsed to a syntax tree, and the tree is walked
with a list of what is allowed.
"""

import ast
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import add, mul, neg, pos, sub
from typing import Annotated

from pydantic import Field

from tools.base import Tool, with_checked_settings
from tools.errors import ToolCallError
from tools.number_rules import preselect_by_numbers
from tools.numbers import NUMBER, NumberError, digits_of, plain, rounded
from tools.proposing.numbers import propose_numbers
from tools.protocol import Document, Preselection, Proposal

_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
}
_UNARY: dict[type[ast.unaryop], Callable[[Fraction], Fraction]] = {ast.USub: neg, ast.UAdd: pos}

# Characters of an expression; nesting of brackets, and signs in a row; absolute value of a number.
_MAX_CHARACTERS, _MAX_DEPTH, _MAX_MAGNITUDE = 100, 20, 10**15
_LIMITS = (
    f"max_characters={_MAX_CHARACTERS} max_depth={_MAX_DEPTH} "
    f"max_magnitude={float(_MAX_MAGNITUDE)!r}"
)

# `5.` is a number here, where no sentence can end.
_OPERAND = re.compile(rf"{NUMBER}\.?")
_SIGNS = str.maketrans({**dict.fromkeys("×⋅∙∗✕✖", "*"), **dict.fromkeys("÷∕⁄", "/")})
# Not in 0x10, which is sixteen elsewhere.
_TIMES = re.compile(r"(?<=[0-9)])(?<!(?<![0-9.,])0)(\s*)[xX](?=\s*[-0-9.(])")
_ALLOWED_CHARACTERS = frozenset("0123456789+-*/() ")
_OTHER_OPERATORS = frozenset("%^&|~@<>=!⁰¹²³⁴⁵⁶⁷⁸⁹")


class Calculator(Tool):
    """Works out an expression of numbers, `+ - * /` and brackets.

    The paper leaves the syntax open. Here: brackets and signs are allowed; numbers are read as in
    `tools/numbers.py`, so that a comma joins groups of three digits and nothing else; `×`, `x`
    between numbers and `·` with blanks around it (`5·3` may be 5.3) are read as `*`, `÷` as `/`,
    `−` as `-`; everything else is invalid, `%`, `**` and names included.

    Args:
        weak_share: Share in 0 to 1 of the texts to keep that merely hold three numbers
            (paper: 0.01).
        decimals: Most decimals of a result (paper: 2). Two are always written where the result is
            not whole, as the paper does.
        seed: Seed of that choice.
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
        # Of the preselection; every expression may be tried.
        self.sampling_version = f"3 weak_share={float(weak_share)!r} seed={seed}"
        # An expression that does not compute is not proposed.
        self.proposals_version = f"4 {_LIMITS}"
        self.version = (
            f"2 {_LIMITS} weak_share={float(weak_share)!r} seed={seed} decimals={decimals}"
        )

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Work out one expression.

        Returns:
            The value: without decimals if it is whole, else rounded.

        Raises:
            ToolCallError: With reason `empty`, `too_long`, `too_deep`, `too_large`,
                `syntax_error`, `ambiguous_number`, `operator_not_allowed` or `division_by_zero`.

        Example:
            >>> Calculator().call("(5 + 1) * 3", Document("example", ""))
            '18'
        """
        return format_number(self._evaluate(arguments), decimals=self.decimals)

    def preselect(self, document: Document) -> Preselection:
        """Apply the number rules of the paper's appendix A to a text."""
        return preselect_by_numbers(document, weak_share=self.weak_share, seed=self.seed)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose numbers behind `=`, with the expression in front, and behind "in total" etc."""
        return propose_numbers(document.text, self._computes)

    def _computes(self, expression: str) -> bool:
        try:
            self._evaluate(expression)
        except ToolCallError:
            return False
        return True

    def _evaluate(self, text: str) -> Fraction:
        """Check an expression character by character, parse it, and walk its syntax tree."""
        length = len(" ".join(text.split()))
        if not length:
            raise ToolCallError("empty", "The expression is empty. Expected a sum such as '6 * 7'.")
        if length > _MAX_CHARACTERS:
            raise ToolCallError(
                "too_long",
                f"The expression has {length} characters. Expected at most {_MAX_CHARACTERS}.",
            )
        expression = _TIMES.sub(r"\1*", plain(text).translate(_SIGNS))
        if other := next((char for char in expression if char in _OTHER_OPERATORS), None):
            raise _operator_not_allowed(other)
        if _bracket_depth(expression) > _MAX_DEPTH:
            raise _too_deep()
        values: list[Fraction] = []

        def number_in(match: re.Match[str]) -> str:
            values.append(Fraction(digits_of(match[0].removesuffix("."))))
            return f" {len(values) - 1} "

        try:
            # A value may have no digits of its own (a third), so its place in the list is parsed.
            places = " ".join(_OPERAND.sub(number_in, expression).replace("·", "*").split())
            if other := next((char for char in places if char not in _ALLOWED_CHARACTERS), None):
                raise _syntax_error(f"The expression {text!r} contains {other!r}")
            return _value(ast.parse(places, mode="eval").body, values, signs=0)
        except NumberError as error:
            raise ToolCallError(error.reason, str(error)) from error
        except SyntaxError as error:
            raise _syntax_error(f"The expression {text!r} cannot be read") from error


def format_number(value: Fraction, *, decimals: int) -> str:
    """Write a number as the paper does: `35`, `3.70`, `0.29`.

    The exact value decides: a whole one has no decimals, any other at least two, so that 1/1000
    is `0.00`. A negative value that rounds to zero has no sign.

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


def _value(node: ast.expr, values: Sequence[Fraction], *, signs: int) -> Fraction:
    """Return the value of one node, which is never above the largest magnitude."""
    if signs > _MAX_DEPTH:
        raise _too_deep()
    match node:
        case ast.Constant(value=int(place)):
            value = values[place]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            value = _UNARY[type(op)](_value(operand, values, signs=signs + 1))
        case ast.BinOp(left=left, op=op, right=right):
            value = _combine(op, _value(left, values, signs=0), _value(right, values, signs=0))
        case _:
            raise _syntax_error("The expression is not a sum of numbers")
    if abs(value) > _MAX_MAGNITUDE:
        raise ToolCallError(
            "too_large",
            f"The expression contains or gives a number above {_MAX_MAGNITUDE:.0e}. Expected "
            "smaller numbers.",
        )
    return value


def _combine(op: ast.operator, left: Fraction, right: Fraction) -> Fraction:
    """Apply a binary operator."""
    if isinstance(op, ast.Div):
        if right == 0:
            raise ToolCallError(
                "division_by_zero", "The expression divides by zero. Expected another divisor."
            )
        return left / right
    operation = _BINARY.get(type(op))
    if operation is None:
        raise _operator_not_allowed("**" if isinstance(op, ast.Pow) else "//")
    return operation(left, right)


def _bracket_depth(expression: str) -> int:
    """Return the deepest nesting of round brackets."""
    depth = deepest = 0
    for char in expression:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    return deepest


def _too_deep() -> ToolCallError:
    return ToolCallError(
        "too_deep",
        f"The expression is nested too deeply. Expected at most {_MAX_DEPTH} levels of brackets or "
        "signs in a row.",
    )


def _operator_not_allowed(operator: str) -> ToolCallError:
    return ToolCallError(
        "operator_not_allowed",
        f"The operator {operator!r} is not allowed. Expected only + - * / and brackets.",
    )


def _syntax_error(what: str) -> ToolCallError:
    return ToolCallError(
        "syntax_error", f"{what}. Expected numbers, + - * / and brackets, as in '(5 + 1) * 3'."
    )
