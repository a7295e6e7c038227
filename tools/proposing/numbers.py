"""Numbers of a text that can be worked out: behind `=`, and behind words such as "in total".

A number that begins another expression (`= 20 + 31`) is no result. The caller says which
expressions can be computed.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from html import unescape
from itertools import accumulate

from tools.numbers import BLANKS, END, NUMBER, UNSPACED, NumberError, digits_of, plain
from tools.protocol import Proposal

_RESULT = rf"(?P<number>-?(?:[$€£¥] ?)?(?P<digits>{NUMBER}))"
_OPERATORS = r"\-+*/×÷·⋅∙∕∗✕✖⁄"
_END = rf"{END}(?![.,]?[0-9]| {{0,3}}[{_OPERATORS}^] {{0,3}}[$€£¥(]?[0-9.])"
_BEHIND_EQUALS = re.compile(rf"(?<![=<>!:])=(?!=) {{0,3}}{_RESULT}{_END}")
_WORDS = "in all|in total|altogether|costs|total of|average of|equals|equal to"
# Three words at most in between: farther away the number is hardly that of the phrase.
_BEHIND_WORDS = re.compile(
    rf"\b(?:{_WORDS})\b[,:]?(?: [^\W\d_]+,?){{0,3}}? {_RESULT}{_END}", re.IGNORECASE
)
# The end of a line that may be an expression; `x` multiplies between numbers.
_EXPRESSION = re.compile(
    rf"(?:{NUMBER}|[.,()$€£¥{_OPERATORS} {BLANKS}]|(?<=[0-9)] )x(?= [0-9($]))++\Z"
)
_LONGEST_EXPRESSION = 100
# Neither the fraction of a mixed number (`2 1/2`), nor brackets behind a factor (`2 (3 + 4)`), nor
# part of a path (`\36`).
_BEGINNING = re.compile(
    rf"(?<![^\W{UNSPACED}])(?<![)$€£¥'’])(?<!\\(?=[0-9]))(?:(?<![.,])|(?<=[{UNSPACED}][.,]))"
    r"(?!(?:(?<=[0-9] )|(?<=[0-9] and ))[0-9]+[/∕⁄][0-9])(?!(?<=[0-9)] )\()"
    rf"[$€£¥]?(?:{NUMBER}|\()"
)
# What stands in front of half an expression: `x + 3 * 4` does not begin with the 3, nor `7:30 + 2`
# with the 30.
_HALF_BEFORE = re.compile(
    rf"(?:[{_OPERATORS}^%±√∛∜]|[0-9)](?: :|:(?!\s))|(?<![^\W\d_])[A-Za-z]"
    r"|\b(?:plus|minus|times|divided by|multiplied by|mod|sqrt|log|ln|half|twice|double)"
    r"|(?:%|\bper ?cent|\bhalf|\bthird|\bquarters?) of)\s*\Z",
    re.IGNORECASE,
)
_LONGEST_HALF_BEFORE = 16
_OPERATION = re.compile(rf"[^\s(] *[{_OPERATORS}] *[^\s)]")
# Not the one between two numbers, which may not become one.
_CURRENCY = re.compile(r"(?<![0-9)])(?<![0-9)] )[$€£¥] ?|[$€£¥](?! ?[0-9(])")
# Signs as LaTeX and HTML write them; a middle dot of LaTeX is no decimal point.
_SPELT = re.compile(r"\\(?:times|cdot|div)(?![A-Za-z])|&(?:times|middot|sdot|divide|minus|nbsp);")
_LATEX = {r"\times": "×", r"\cdot": "⋅", r"\div": "÷"}
_MARKS = str.maketrans({"x": "*", **dict.fromkeys(BLANKS, " ")})


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
    # As one character each, with what was cut in front of every place.
    spelt = list(_SPELT.finditer(text))
    cut = [0, *accumulate(len(sign[0]) - 1 for sign in spelt)]
    signs = [sign.start() - before for sign, before in zip(spelt, cut, strict=False)]
    text = plain(_SPELT.sub(lambda sign: _LATEX.get(sign[0]) or unescape(sign[0]), text))
    proposals = {
        match.start("number"): Proposal(match.start("number"))
        for match in _BEHIND_WORDS.finditer(text)
        if _is_readable(match["digits"])
    }
    for match in _BEHIND_EQUALS.finditer(text):
        if not _is_readable(match["digits"]):
            continue
        expressions = _expressions_before(text, match.start())
        arguments = next(filter(computes, expressions), None)
        proposals[match.start("number")] = Proposal(match.start("number"), arguments)
    return [
        Proposal(offset + cut[bisect_left(signs, offset)], proposals[offset].arguments)
        for offset in sorted(proposals)
    ]


def _is_readable(number: str) -> bool:
    try:
        digits_of(number)
    except NumberError:
        return False
    return True


def _expressions_before(text: str, end: int) -> Iterator[str]:
    """Yield what may be the expression that ends at an offset, the longest first."""
    start = max(0, end - _LONGEST_EXPRESSION)
    match = _EXPRESSION.search(text[start:end])
    if match is None:
        return
    # A beginning inside a longer one would cut that.
    for beginning in _BEGINNING.finditer(text, start + match.start(), end):
        first = beginning.start()
        if _HALF_BEFORE.search(text, max(0, first - _LONGEST_HALF_BEFORE), first):
            continue
        written = text[first:end].translate(_MARKS)
        expression = _CURRENCY.sub("", written).strip()
        if _OPERATION.search(expression):
            yield expression
