"""Decides where the calculator may help: preselection (paper, appendix A) and proposals.

A text is selected if (i) three numbers in a window of 100 tokens satisfy a ∘ b = c for one of the
four operations, or (ii) a number follows `=`, `equals`, `equal to`, `total of` or `average of`, or
(iii) it contains three numbers and belongs to a small random share of such texts.

The paper does not define tokens and numbers. Here, tokens are numbers, words, punctuation marks,
and single letters of scripts without blanks between words. A number is what `tools/numbers.py`
reads; it must not directly follow a letter of another script. Signs are ignored, since a minus
looks like a hyphen.

Proposed positions are before numbers that follow `=` or phrases such as "in total". A number that
begins another expression (`= 20 + 31`) is not a result.
"""

import hashlib
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from html import unescape
from itertools import accumulate
from math import lcm

from tools.numbers import BLANKS, END, NUMBER, START, UNSPACED, NumberError, digits_of, plain
from tools.protocol import Document, Preselection, Proposal

_TOKEN = re.compile(rf"(?P<number>{START}{NUMBER})|[^\W{UNSPACED}]+|[{UNSPACED}]|[^\w\s]")
_NUMBER_AFTER_EQUALS = re.compile(
    r"(?:=|\b(?:equals|equal\s{1,3}to|total\s{1,3}of|average\s{1,3}of)\b)"
    r"\s{0,3}[-$€£¥]?\s?\.?[0-9]",
    re.IGNORECASE,
)
_WINDOW_TOKENS = 100
_MAX_DIGITS = 30

_RESULT = rf"(?P<number>-?(?:[$€£¥] ?)?(?P<digits>{NUMBER}))"
_OPERATORS = r"\-+*/×÷·⋅∙∕∗✕✖⁄"
_END = rf"{END}(?![.,]?[0-9]| {{0,3}}[{_OPERATORS}^] {{0,3}}[$€£¥(]?[0-9.])"
_RESULT_AFTER_EQUALS = re.compile(rf"(?<![=<>!:])=(?!=) {{0,3}}{_RESULT}{_END}")
_WORDS = "in all|in total|altogether|costs|total of|average of|equals|equal to"
# At most three words may separate phrase and number: a number farther away rarely belongs to it.
_RESULT_AFTER_WORDS = re.compile(
    rf"\b(?:{_WORDS})\b[,:]?(?: [^\W\d_]+,?){{0,3}}? {_RESULT}{_END}", re.IGNORECASE
)
# The longest suffix that may be an expression. An `x` between numbers multiplies.
_EXPRESSION = re.compile(
    rf"(?:{NUMBER}|[.,()$€£¥{_OPERATORS} {BLANKS}]|(?<=[0-9)] )x(?= [0-9($]))++\Z"
)
_LONGEST_EXPRESSION = 100
# An expression does not begin at the fraction of a mixed number (`2 1/2`), at brackets after a
# factor (`2 (3 + 4)`) or inside a path (`\36`).
_BEGINNING = re.compile(
    rf"(?<![^\W{UNSPACED}])(?<![)$€£¥'’])(?<!\\(?=[0-9]))(?:(?<![.,])|(?<=[{UNSPACED}][.,]))"
    r"(?!(?:(?<=[0-9] )|(?<=[0-9] and ))[0-9]+[/∕⁄][0-9])(?!(?<=[0-9)] )\()"
    rf"[$€£¥]?(?:{NUMBER}|\()"
)
# Text after which an expression is incomplete: `x + 3 * 4` does not begin with the 3, and
# `7:30 + 2` does not begin with the 30.
_HALF_BEFORE = re.compile(
    rf"(?:[{_OPERATORS}^%±√∛∜]|[0-9)](?: :|:(?!\s))|(?<![^\W\d_])[A-Za-z]"
    r"|\b(?:plus|minus|times|divided by|multiplied by|mod|sqrt|log|ln|half|twice|double)"
    r"|(?:%|\bper ?cent|\bhalf|\bthird|\bquarters?) of)\s*\Z",
    re.IGNORECASE,
)
_LONGEST_HALF_BEFORE = 16
_OPERATION = re.compile(rf"[^\s(] *[{_OPERATORS}] *[^\s)]")
# A sign between two numbers stays, so that they do not become one number.
_CURRENCY = re.compile(r"(?<![0-9)])(?<![0-9)] )[$€£¥] ?|[$€£¥](?! ?[0-9(])")
# Signs as LaTeX and HTML write them. The middle dot of LaTeX is never a decimal point.
_ESCAPED = re.compile(r"\\(?:times|cdot|div)(?![A-Za-z])|&(?:times|middot|sdot|divide|minus|nbsp);")
_LATEX = {r"\times": "×", r"\cdot": "⋅", r"\div": "÷"}
_TO_PLAIN = str.maketrans({"x": "*", **dict.fromkeys(BLANKS, " ")})


def preselect_by_numbers(document: Document, *, weak_share: float, seed: int) -> Preselection:
    """Apply the rules to a text; `weak_share` (0 to 1) is the share that rule (iii) keeps.

    Example:
        >>> text = "Six crates with 24 bottles each: 6 rows of 24 are 144 bottles."
        >>> preselect_by_numbers(Document("example", text), weak_share=0.0, seed=0).reason
        'computed_number'
    """
    text = plain(document.text)
    if _NUMBER_AFTER_EQUALS.search(text):
        reason = "after_equals"
    elif len(numbers := _find_numbers(text)) < 3:
        reason = "fewer_than_three_numbers"
    elif _holds_computed_number(numbers):
        reason = "computed_number"
    elif _share_of(document.document_id, seed) < weak_share:
        reason = "three_numbers_sampled"
    else:
        reason = "three_numbers_not_sampled"
    is_selected = reason not in {"fewer_than_three_numbers", "three_numbers_not_sampled"}
    return Preselection(is_selected, reason)


def _find_numbers(text: str) -> list[tuple[str, int]]:
    """Return the digits and the token index of each readable number."""
    numbers: list[tuple[str, int]] = []
    for token, match in enumerate(_TOKEN.finditer(text)):
        if match.lastgroup == "number":
            with suppress(NumberError):
                numbers.append((digits_of(match[0], is_single_number=False), token))
    return numbers


def _holds_computed_number(numbers: list[tuple[str, int]]) -> bool:
    """Return whether a ∘ b = c, to two decimals, for three occurrences in one window."""
    # Longer numbers, such as digits of π, are no results and would slow the arithmetic down.
    short = [(digits, token) for digits, token in numbers if len(digits) <= _MAX_DIGITS]
    exact = [Fraction(digits) for digits, _ in short]
    # Integers are exact and fast: here `scale` means 1 and `per_cent` means 0.01.
    scale = lcm(100, *(value.denominator for value in exact))
    per_cent = scale // 100
    values = [int(value * scale) for value in exact]
    tokens = [token for _, token in short]

    indices_of: dict[int, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        indices_of[(value + per_cent // 2) // per_cent].append(index)

    square = scale * per_cent
    for first, a in enumerate(values):
        window_end = tokens[first] + _WINDOW_TOKENS
        for second in range(first + 1, len(values)):
            if tokens[second] >= window_end:
                break
            b = values[second]
            results = [
                (a + b + per_cent // 2) // per_cent,
                (abs(a - b) + per_cent // 2) // per_cent,
                (a * b + square // 2) // square,
            ]
            if b:
                results.append((200 * a + b) // (2 * b))
            if a:
                results.append((200 * b + a) // (2 * a))
            for result in results:
                if result in indices_of and _has_third(indices_of[result], first, second, tokens):
                    return True
    return False


def _has_third(indices: list[int], first: int, second: int, tokens: list[int]) -> bool:
    """Return whether one of `indices` is a third number in one window with the other two."""
    lowest = tokens[second] - _WINDOW_TOKENS
    highest = tokens[first] + _WINDOW_TOKENS
    start = bisect_left(indices, True, key=lambda index: tokens[index] > lowest)
    # At most two of the indices are the pair itself, so checking three is enough.
    return any(
        tokens[index] < highest and index not in (first, second)
        for index in indices[start : start + 3]
    )


def _share_of(document_id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\n{document_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def propose_numbers(text: str, computes: Callable[[str], bool]) -> list[Proposal]:
    """Propose calls before results, with the longest expression that `computes` accepts.

    Example:
        >>> text = "She buys 24 + 27 = $51 worth of tea. In all she has 60 bags."
        >>> for each in propose_numbers(text, computes=lambda expression: True):
        ...     print(text[each.offset : each.offset + 3], each.arguments)
        $51 24 + 27
        60  None
    """
    # Signs of LaTeX and HTML become single characters; `removed[n]` counts the characters that the
    # first n signs lose.
    escaped = list(_ESCAPED.finditer(text))
    removed = [0, *accumulate(len(sign[0]) - 1 for sign in escaped)]
    sign_offsets = [sign.start() - before for sign, before in zip(escaped, removed, strict=False)]
    text = plain(_ESCAPED.sub(lambda sign: _LATEX.get(sign[0]) or unescape(sign[0]), text))
    arguments: dict[int, str | None] = {}
    for pattern in (_RESULT_AFTER_WORDS, _RESULT_AFTER_EQUALS):
        for match in pattern.finditer(text):
            with suppress(NumberError):
                digits_of(match["digits"])
                is_result = pattern is _RESULT_AFTER_EQUALS
                expressions = _expressions_before(text, match.start()) if is_result else ()
                arguments[match.start("number")] = next(filter(computes, expressions), None)
    return [
        Proposal(offset + removed[bisect_left(sign_offsets, offset)], arguments[offset])
        for offset in sorted(arguments)
    ]


def _expressions_before(text: str, end: int) -> Iterator[str]:
    """Yield the expressions that may end at an offset, longest first."""
    start = max(0, end - _LONGEST_EXPRESSION)
    match = _EXPRESSION.search(text[start:end])
    if match is None:
        return
    for beginning in _BEGINNING.finditer(text, start + match.start(), end):
        first = beginning.start()
        if _HALF_BEFORE.search(text, max(0, first - _LONGEST_HALF_BEFORE), first):
            continue
        written = text[first:end].translate(_TO_PLAIN)
        expression = _CURRENCY.sub("", written).strip()
        if _OPERATION.search(expression):
            yield expression
