"""Numbers of a text that can be worked out: behind `=`, and behind words such as "in total".

A number that begins another expression (`= 20 + 31`) is no result. The caller says which
expressions can be computed.
"""

import re
from collections.abc import Callable, Iterator

from tools.protocol import Proposal

_NUMBER = r"(?P<number>[-−]?(?:[$€£¥] ?)?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+))"
_END = r"(?!\w|[.,]?[0-9]| {0,3}[-−+*/×÷^] {0,3}[$€£¥(]?[0-9.])"
_BEHIND_EQUALS = re.compile(rf"(?<![=<>!:])=(?!=) {{0,3}}{_NUMBER}{_END}")
_WORDS = "in all|in total|altogether|costs|total of|average of|equals|equal to"
# Three words at most in between: farther away the number is hardly that of the phrase.
_BEHIND_WORDS = re.compile(
    rf"\b(?:{_WORDS})\b[,:]?(?: [^\W\d_]+,?){{0,3}}? {_NUMBER}{_END}", re.IGNORECASE
)
# The end of a line that may be an expression; `x` multiplies between numbers.
_EXPRESSION = re.compile(r"(?:[0-9.,()$€£¥+*/×÷−\- ]|(?<=[0-9)] )x(?= [0-9($]))+\Z")
_LONGEST_EXPRESSION = 100
_BEGINNING = re.compile(r"(?<![\w.,)$€£¥])[$€£¥]?[0-9(.]")
# What stands in front of half an expression: `x + 3 * 4` does not begin with the 3.
_HALF_BEFORE = re.compile(r"(?:[-−+*/×÷^%]|\b[A-Za-z])\s*\Z")
_OPERATION = re.compile(r"[0-9)] ?[-+*/×÷] ?[0-9(.]")
_MARKS = str.maketrans({"$": "", "€": "", "£": "", "¥": "", "x": "*", "−": "-"})


def propose_numbers(text: str, computes: Callable[[str], bool]) -> list[Proposal]:
    """Propose calls in front of numbers that can be worked out, with their sign and currency.

    Returns:
        Places by offset; with the expression that stands in front of `=`, where there is one.

    Example:
        >>> text = "She buys 24 + 27 = $51 worth of tea. In all she has 60 bags."
        >>> for each in propose_numbers(text, computes=lambda expression: True):
        ...     print(text[each.offset : each.offset + 3], each.arguments)
        $51 24 + 27
        60  None
    """
    proposals = {
        match.start("number"): Proposal(match.start("number"))
        for match in _BEHIND_WORDS.finditer(text)
    }
    for match in _BEHIND_EQUALS.finditer(text):
        expressions = _expressions_before(text, match.start())
        arguments = next(filter(computes, expressions), None)
        proposals[match.start("number")] = Proposal(match.start("number"), arguments)
    return [proposals[offset] for offset in sorted(proposals)]


def _expressions_before(text: str, end: int) -> Iterator[str]:
    """Yield what may be the expression that ends at an offset, the longest first."""
    start = max(0, end - _LONGEST_EXPRESSION)
    match = _EXPRESSION.search(text[start:end])
    if match is None:
        return
    # A beginning inside a longer one would cut that.
    for beginning in _BEGINNING.finditer(text, start + match.start(), end):
        if _HALF_BEFORE.search(text, max(0, beginning.start() - 8), beginning.start()):
            continue
        expression = " ".join(text[beginning.start() : end].translate(_MARKS).split())
        if _OPERATION.search(expression):
            yield expression
