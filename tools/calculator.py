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

from pydantic import Field, PositiveFloat, PositiveInt

from tools.base import Tool, with_checked_settings
from tools.errors import ToolCallError
from tools.number_rules import preselect_by_numbers
from tools.proposing.numbers import propose_numbers
from tools.protocol import Document, Preselection, Proposal

_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
}
_UNARY: dict[type[ast.unaryop], Callable[[Fraction], Fraction]] = {ast.USub: neg, ast.UAdd: pos}

_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_COMMA_IN_NUMBER = re.compile(r"(?<=[0-9]),(?=[0-9])")
# Python refuses integers such as 007; people write them.
_LEADING_ZEROS = re.compile(r"(?<![0-9.])0+(?=[0-9])")
_SIGNS = str.maketrans("×÷", "*/")
_ALLOWED_CHARACTERS = frozenset("0123456789.,+-*/() ")
_OTHER_OPERATORS = frozenset("%^&|~@<>=!")


class Calculator(Tool):
    """Works out an expression of numbers, `+ - * /` and brackets.

    The paper leaves the syntax open. Here: brackets and signs are allowed; commas between digits
    are dropped; `×` and `÷` are read as `*` and `/`; everything else is invalid, `%`, `**` and
    names included.

    Args:
        max_characters: Longest expression, in characters.
        max_depth: Deepest nesting of brackets, and longest run of signs.
        max_magnitude: Largest absolute value of a number, intermediate values included.
        weak_share: Share in 0 to 1 of the texts to keep that merely hold three numbers
            (paper: 0.01).
        seed: Seed of that choice.
    """

    name = "Calculator"
    description = "Works out an expression of numbers, + - * / and brackets."

    @with_checked_settings
    def __init__(
        self,
        *,
        max_characters: PositiveInt = 100,
        max_depth: PositiveInt = 20,
        max_magnitude: PositiveFloat = 1e15,
        weak_share: Annotated[float, Field(ge=0, le=1)] = 0.01,
        seed: int = 0,
    ) -> None:
        self.max_characters = max_characters
        self.max_depth = max_depth
        self.max_magnitude = Fraction(max_magnitude)
        self.weak_share = weak_share
        self.seed = seed
        # Of the preselection; every expression may be tried.
        self.sampling_version = f"1 weak_share={float(weak_share)!r} seed={seed}"
        limits_named = (
            f"max_characters={max_characters} max_depth={max_depth} "
            f"max_magnitude={float(max_magnitude)!r}"
        )
        # An expression that does not compute is not proposed.
        self.proposals_version = f"1 {limits_named}"
        self.version = f"1 {limits_named} weak_share={float(weak_share)!r} seed={seed}"

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Work out one expression.

        Returns:
            The value: without decimals if it is whole, else rounded to two decimals.

        Raises:
            ToolCallError: With reason `empty`, `too_long`, `too_deep`, `too_large`,
                `syntax_error`, `operator_not_allowed` or `division_by_zero`.

        Example:
            >>> Calculator().call("(5 + 1) * 3", Document("example", ""))
            '18'
        """
        return format_number(self._evaluate(arguments))

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
        expression = " ".join(text.split())
        if not expression:
            raise ToolCallError("empty", "The expression is empty. Expected a sum such as '6 * 7'.")
        if len(expression) > self.max_characters:
            raise ToolCallError(
                "too_long",
                f"The expression has {len(expression)} characters. Expected at most "
                f"{self.max_characters}.",
            )
        expression = expression.translate(_SIGNS)
        for char in expression:
            if char in _OTHER_OPERATORS:
                raise _operator_not_allowed(char)
            if char not in _ALLOWED_CHARACTERS:
                raise _syntax_error(f"The expression {text!r} contains {char!r}")
        if _bracket_depth(expression) > self.max_depth:
            raise self._too_deep()
        expression = _LEADING_ZEROS.sub("", _COMMA_IN_NUMBER.sub("", expression))
        try:
            return self._value(ast.parse(expression, mode="eval").body, expression, signs=0)
        except SyntaxError as error:
            raise _syntax_error(f"The expression {text!r} cannot be read") from error
        except (RecursionError, MemoryError) as error:
            # What Python's parser raises on nesting that it cannot hold.
            raise self._too_deep() from error

    def _value(self, node: ast.expr, text: str, *, signs: int) -> Fraction:
        """Return the value of one node, which is never above the largest magnitude."""
        if signs > self.max_depth:
            raise self._too_deep()
        match node:
            case ast.Constant():
                # The value of the node is a binary float: 0.1 would not be a tenth.
                digits = text[node.col_offset : node.end_col_offset]
                if _NUMBER.fullmatch(digits) is None:
                    raise _syntax_error(f"The expression contains {digits!r}")
                value = Fraction(digits)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                value = _UNARY[type(op)](self._value(operand, text, signs=signs + 1))
            case ast.BinOp(left=left, op=op, right=right):
                value = _combine(
                    op, self._value(left, text, signs=0), self._value(right, text, signs=0)
                )
            case _:
                raise _syntax_error(f"The expression {text!r} is not a sum of numbers")
        if abs(value) > self.max_magnitude:
            raise ToolCallError(
                "too_large",
                "The expression contains or gives a number above "
                f"{float(self.max_magnitude):g}. Expected smaller numbers.",
            )
        return value

    def _too_deep(self) -> ToolCallError:
        return ToolCallError(
            "too_deep",
            f"The expression is nested too deeply. Expected at most {self.max_depth} levels of "
            "brackets or signs in a row.",
        )


def format_number(value: Fraction) -> str:
    """Write a number as the paper does: `35`, `3.70`, `0.29`.

    The exact value decides: a whole one has no decimals, any other exactly two, so that 1/1000
    is `0.00`. Halves are rounded away from zero; a negative value that rounds to zero has no
    sign.

    Example:
        >>> [format_number(Fraction(text)) for text in ("18/7", "80", "-1/1000")]
        ['2.57', '80', '0.00']
    """
    if value.denominator == 1:
        return str(value.numerator)
    cents = (abs(value) * 200 + 1) // 2
    sign = "-" if value < 0 and cents else ""
    return f"{sign}{cents // 100}.{cents % 100:02d}"


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


def _operator_not_allowed(operator: str) -> ToolCallError:
    return ToolCallError(
        "operator_not_allowed",
        f"The operator {operator!r} is not allowed. Expected only + - * / and brackets.",
    )


def _syntax_error(what: str) -> ToolCallError:
    return ToolCallError(
        "syntax_error", f"{what}. Expected numbers, + - * / and brackets, as in '(5 + 1) * 3'."
    )
