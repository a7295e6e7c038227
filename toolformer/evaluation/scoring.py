"""Scores model outputs: decides whether an output counts as correct.

The caller removes all calls from an output first, so words of a call never count as an answer.
"""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import islice

import regex

from tools.numbers import NUMBER, START, NumberError, digits_of, plain, rounded

NUMBER_TOLERANCE = 1e-4
# \p{S} is needed because Unicode classifies the ASCII punctuation $ + < = > ^ ` | ~ as symbols.
_EDGES = regex.compile(r"^[\p{P}\p{S}]+|(?<![\p{P}\p{S}])[\p{P}\p{S}]++$")

# START excludes the minus in "9-5": after a digit or letter, a minus is an operator. `rest` is set
# if the digits only begin a fraction, a mixed number or a time, as in "3/4"; such a match is
# rejected.
_NUMBER = re.compile(
    rf"{START}(?P<sign>-?)(?P<digits>{NUMBER})"
    r"(?P<rest>(?:(?:(?: and)? |-)[0-9]+)?(?:[/∕⁄:][0-9]+)+)?"
)


def normalised_words(text: str) -> list[str]:
    """Return the lower-cased words of a text without punctuation and symbols at their edges.

    Example:
        >>> normalised_words("The capital is – of course – “Oslo”!")
        ['the', 'capital', 'is', 'of', 'course', 'oslo']
    """
    words = (_EDGES.sub("", unicodedata.normalize("NFC", word.lower())) for word in text.split())
    return [word for word in words if word]


def contains_answer(prediction: str, gold: Sequence[str], *, first_words: int) -> bool:
    """Return whether an accepted answer occurs, word for word, among the first words.

    The paper searches the first 5 words for LAMA and the temporal sets (§4.2.1, §4.2.5), 20 for
    questions (§4.2.3) and 10 for MLQA (§4.2.4).

    Example:
        >>> contains_answer("a small town near Lyon in France", ["Lyon"], first_words=5)
        True
    """
    words = list(islice(normalised_words(prediction), first_words))
    return any(_occurs(normalised_words(answer), words) for answer in gold)


def answered_number(text: str) -> Decimal | None:
    """Return the first number after the first `=`, else the first in the text, else None.

    Currency signs are ignored. If that number is ambiguous, a fraction or a time, return None.

    Example:
        >>> answered_number("She pays -$1,250.50 in all.")
        Decimal('-1250.50')
    """
    written = _without_currency_signs(plain(text))
    _, _, after_equals = written.partition("=")
    return _value_of(_NUMBER.search(after_equals) or _NUMBER.search(written))


def last_number(text: str) -> Decimal | None:
    """Return the last number: the final answer of a step-by-step solution. Not in the paper.

    Example:
        >>> last_number("48 / 2 = 24 clips in May, and 48 + 24 = 72 in all.")
        Decimal('72')
    """
    *_, last = None, *_NUMBER.finditer(_without_currency_signs(plain(text)))
    return _value_of(last)


def is_number_right(number: Decimal | None, gold: Sequence[str]) -> bool:
    """Return whether a number equals an accepted answer to within 1e-4 (paper §4.2.2).

    Example:
        >>> is_number_right(answered_number("the sum 9+5=14."), ["14"])
        True
    """
    return number is not None and any(
        abs(float(number) - float(answer)) <= NUMBER_TOLERANCE for answer in gold
    )


def is_number_rounded(number: Decimal | None, gold: Sequence[str]) -> bool:
    """Return whether a number is an accepted answer rounded to two or three decimals.

    Only a number with at least two decimals counts, since the Calculator rounds to two. A bare 63
    is not accepted for 62.999, because it may be a guess.

    Example:
        >>> [is_number_rounded(Decimal(text), ["0.004"]) for text in ("0.00", "0")]
        [True, False]
    """
    if number is None or not f"{number:f}".partition(".")[2][1:]:
        return False
    values = [rounded(Fraction(answer), decimals) for answer in gold for decimals in (2, 3)]
    # Reject -0.00: the Calculator never writes a sign before zero.
    return any(number == value and number.is_signed() == (value < 0) for value in values)


def _occurs(answer: list[str], words: list[str]) -> bool:
    # An answer that is only punctuation has no words, and an empty list would occur everywhere.
    if not answer:
        return False
    starts = range(len(words) - len(answer) + 1)
    return any(words[start : start + len(answer)] == answer for start in starts)


def _value_of(match: re.Match[str] | None) -> Decimal | None:
    if match is None or match["rest"]:
        return None
    try:
        digits = digits_of(match["digits"], is_single_number=False)
    except NumberError:
        return None
    above, _, below = digits.partition("/")
    return Decimal(match["sign"] + above) / Decimal(below or 1)


def _without_currency_signs(text: str) -> str:
    # After a minus, the currency sign is removed ("-$5" is -5). Elsewhere it becomes a space, so
    # that "US$5" contains the number 5.
    return regex.sub(r"\p{Sc}", " ", regex.sub(r"(?<=-)\p{Sc}+", "", text))
