"""Where the calculator may help a text: preselection (paper, appendix A) and proposals.

A text is selected if (i) three numbers in a window of 100 tokens satisfy a ∘ b = c for one of the
four operations, or (ii) a number follows `=`, `equals`, `equal to`, `total of` or `average of`, or
(iii) it holds three numbers and belongs to the small random share of such texts that is kept.

The paper does not define tokens and numbers. Here tokens are numbers, words, single punctuation
marks, and letters of scripts that put no blanks between words. A number is what `tools/numbers.py`
reads and touches no other letter on its left. Signs are ignored, since a minus cannot be told from
a hyphen.

Proposed places are before numbers that follow `=` or words such as "in total". A number that begins
another expression (`= 20 + 31`) is no result.
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
_BEHIND_EQUALS = re.compile(rf"(?<![=<>!:])=(?!=) {{0,3}}{_RESULT}{_END}")
_WORDS = "in all|in total|altogether|costs|total of|average of|equals|equal to"
# At most three words in between: a number farther away hardly belongs to the phrase.
_BEHIND_WORDS = re.compile(
    rf"\b(?:{_WORDS})\b[,:]?(?: [^\W\d_]+,?){{0,3}}? {_RESULT}{_END}", re.IGNORECASE
)
# The end of a line that may be an expression; `x` multiplies between numbers.
_EXPRESSION = re.compile(
    rf"(?:{NUMBER}|[.,()$€£¥{_OPERATORS} {BLANKS}]|(?<=[0-9)] )x(?= [0-9($]))++\Z"
)
_LONGEST_EXPRESSION = 100
# Not the fraction of a mixed number (`2 1/2`), brackets after a factor (`2 (3 + 4)`), or part of a
# path (`\36`).
_BEGINNING = re.compile(
    rf"(?<![^\W{UNSPACED}])(?<![)$€£¥'’])(?<!\\(?=[0-9]))(?:(?<![.,])|(?<=[{UNSPACED}][.,]))"
    r"(?!(?:(?<=[0-9] )|(?<=[0-9] and ))[0-9]+[/∕⁄][0-9])(?!(?<=[0-9)] )\()"
    rf"[$€£¥]?(?:{NUMBER}|\()"
)
# Before half an expression: `x + 3 * 4` does not begin with the 3, nor `7:30 + 2` with the 30.
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


def preselect_by_numbers(document: Document, *, weak_share: float, seed: int) -> Preselection:
    """Decide whether a text is worth annotating with the calculator.

    Args:
        weak_share: Share, 0 to 1, of the texts to keep that satisfy only rule (iii).
        seed: Seed of that choice, which depends on nothing else but the document's id.

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
                numbers.append((digits_of(match[0], is_alone=False), token))
    return numbers


def _holds_computed_number(numbers: list[tuple[str, int]]) -> bool:
    """Return whether three different occurrences a, b, c in one window satisfy a ∘ b = c.

    ∘ is one of + - * / in both orders, and results are equal after rounding to two decimals. Each
    pair that fits into a window is tried once and its results are looked up among the numbers.
    """
    # Serial numbers and digits of π are no results, and would make the integers long.
    short = [(digits, token) for digits, token in numbers if len(digits) <= _MAX_DIGITS]
    exact = [Fraction(digits) for digits, _ in short]
    # Integers are exact and fast: `scale` is one, `per_cent` a hundredth.
    scale = lcm(100, *(value.denominator for value in exact))
    per_cent = scale // 100
    values = [int(value * scale) for value in exact]
    tokens = [token for _, token in short]

    places: dict[int, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        places[(value + per_cent // 2) // per_cent].append(index)

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
                if result in places and _has_third(places[result], first, second, tokens):
                    return True
    return False


def _has_third(places: list[int], first: int, second: int, tokens: list[int]) -> bool:
    """Return whether a third occurrence shares a window with two others."""
    lowest = tokens[second] - _WINDOW_TOKENS
    highest = tokens[first] + _WINDOW_TOKENS
    start = bisect_left(places, True, key=lambda index: tokens[index] > lowest)
    # At most two of the places are the pair itself, so three are enough.
    return any(
        tokens[index] < highest and index not in (first, second)
        for index in places[start : start + 3]
    )


def _share_of(document_id: str, seed: int) -> float:
    """Return a pseudo-random number in [0, 1) of an id and a seed."""
    digest = hashlib.sha256(f"{seed}\n{document_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def propose_numbers(text: str, computes: Callable[[str], bool]) -> list[Proposal]:
    """Propose calls before numbers that can be worked out, with their sign and currency.

    Args:
        computes: Whether an expression has a value.

    Returns:
        Places by offset, with the expression before `=` if there is one that computes.

    Example:
        >>> text = "She buys 24 + 27 = $51 worth of tea. In all she has 60 bags."
        >>> for each in propose_numbers(text, computes=lambda expression: True):
        ...     print(text[each.offset : each.offset + 3], each.arguments)
        $51 24 + 27
        60  None
    """
    # Signs of LaTeX and HTML become one character; `cut` counts those removed before each place.
    spelt = list(_SPELT.finditer(text))
    cut = [0, *accumulate(len(sign[0]) - 1 for sign in spelt)]
    signs = [sign.start() - before for sign, before in zip(spelt, cut, strict=False)]
    text = plain(_SPELT.sub(lambda sign: _LATEX.get(sign[0]) or unescape(sign[0]), text))
    arguments: dict[int, str | None] = {}
    for pattern in (_BEHIND_WORDS, _BEHIND_EQUALS):
        for match in pattern.finditer(text):
            with suppress(NumberError):
                digits_of(match["digits"])
                is_result = pattern is _BEHIND_EQUALS
                expressions = _expressions_before(text, match.start()) if is_result else ()
                arguments[match.start("number")] = next(filter(computes, expressions), None)
    return [
        Proposal(offset + cut[bisect_left(signs, offset)], arguments[offset])
        for offset in sorted(arguments)
    ]


def _expressions_before(text: str, end: int) -> Iterator[str]:
    """Yield the expressions that may end at an offset, the longest first."""
    start = max(0, end - _LONGEST_EXPRESSION)
    match = _EXPRESSION.search(text[start:end])
    if match is None:
        return
    for beginning in _BEGINNING.finditer(text, start + match.start(), end):
        first = beginning.start()
        if _HALF_BEFORE.search(text, max(0, first - _LONGEST_HALF_BEFORE), first):
            continue
        written = text[first:end].translate(_MARKS)
        expression = _CURRENCY.sub("", written).strip()
        if _OPERATION.search(expression):
            yield expression
