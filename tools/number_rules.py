"""Which texts are worth annotating with the calculator (paper, appendix A).

A text is taken if (i) some window of 100 tokens holds three numbers of which one is what an
operation on the other two gives, or (ii) a number follows `=`, `equals`, `equal to`, `total of` or
`average of`, or (iii) it holds three numbers and is among the small random share kept of the texts
that fulfil only this.

The paper does not say what a token or a number is. Here tokens are numbers, words and single
punctuation marks, and letters of scripts without blanks between words; a number is what
`tools/numbers.py` reads, and touches no other letter on its left. Signs are left out: a minus
cannot be told from a hyphen.
"""

import hashlib
import re
from bisect import bisect_left
from collections import defaultdict
from contextlib import suppress
from fractions import Fraction
from math import lcm

from tools.numbers import NUMBER, START, UNSPACED, NumberError, digits_of, plain
from tools.protocol import Document, Preselection

_TOKEN = re.compile(rf"(?P<number>{START}{NUMBER})|[^\W{UNSPACED}]+|[{UNSPACED}]|[^\w\s]")
_NUMBER_AFTER_EQUALS = re.compile(
    r"(?:=|\b(?:equals|equal\s{1,3}to|total\s{1,3}of|average\s{1,3}of)\b)"
    r"\s{0,3}[-$€£¥]?\s?\.?[0-9]",
    re.IGNORECASE,
)
_WINDOW_TOKENS = 100
_MAX_DIGITS = 30


def preselect_by_numbers(document: Document, *, weak_share: float, seed: int) -> Preselection:
    """Decide whether a text is worth annotating with the calculator.

    Args:
        weak_share: Share in 0 to 1 of the texts to keep that fulfil only rule (iii).
        seed: Seed of that choice, which depends on it and the document's id alone.

    Returns:
        The decision, with reason `after_equals`, `computed_number`, `three_numbers_sampled`,
        `three_numbers_not_sampled` or `fewer_than_three_numbers`.

    Example:
        >>> text = "Six crates with 24 bottles each: 6 rows of 24 are 144 bottles."
        >>> preselect_by_numbers(Document("example", text), weak_share=0.0, seed=0).reason
        'computed_number'
    """
    text = plain(document.text)
    if _NUMBER_AFTER_EQUALS.search(text):
        return Preselection(is_selected=True, reason="after_equals")
    numbers = _find_numbers(text)
    if len(numbers) < 3:
        return Preselection(is_selected=False, reason="fewer_than_three_numbers")
    if _holds_computed_number(numbers):
        return Preselection(is_selected=True, reason="computed_number")
    if _share_of(document.document_id, seed) < weak_share:
        return Preselection(is_selected=True, reason="three_numbers_sampled")
    return Preselection(is_selected=False, reason="three_numbers_not_sampled")


def _find_numbers(text: str) -> list[tuple[str, int]]:
    """Find the numbers of a text, in order: the digits of each, and the index of its token."""
    numbers: list[tuple[str, int]] = []
    for token, match in enumerate(_TOKEN.finditer(text)):
        if match.lastgroup == "number":
            with suppress(NumberError):
                numbers.append((digits_of(match[0], is_alone=False), token))
    return numbers


def _holds_computed_number(numbers: list[tuple[str, int]]) -> bool:
    """Tell whether three different occurrences a, b, c in one window satisfy a ∘ b = c.

    Equality is tested after rounding to two decimals, with ∘ one of + - * / and the pair in both
    orders. Instead of trying all triples of all windows, each pair that fits into a window is
    looked at once, and its results are looked up among the numbers of the text.
    """
    # Serial numbers and digits of π are nobody's result, and would make the integers long.
    short = [(digits, token) for digits, token in numbers if len(digits) <= _MAX_DIGITS]
    exact = [Fraction(digits) for digits, _ in short]
    # All values as integers, `scale` to the unit, `per_cent` to a hundredth: exact and fast.
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
    """Tell whether a third occurrence shares a window with two others."""
    lowest = tokens[second] - _WINDOW_TOKENS
    highest = tokens[first] + _WINDOW_TOKENS
    start = bisect_left(places, True, key=lambda index: tokens[index] > lowest)
    # At most two of the places are the pair itself, so three looks settle it.
    return any(
        tokens[index] < highest and index not in (first, second)
        for index in places[start : start + 3]
    )


def _share_of(document_id: str, seed: int) -> float:
    """Return a number in 0 to 1 that depends on the id and the seed alone."""
    digest = hashlib.sha256(f"{seed}\n{document_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
