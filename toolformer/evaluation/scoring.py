"""Scoring rules of the benchmarks: is a model's output counted as correct?

The caller removes every call from the output first, so that the words of a call never count among
the first words.
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
# Symbols too: ASCII counts $ + < = > ^ ` | ~ among punctuation, Unicode files them under S.
_EDGES = regex.compile(r"^[\p{P}\p{S}]+|(?<![\p{P}\p{S}])[\p{P}\p{S}]++$")

# A minus sign that follows a digit or a letter is an operator ("9-5"). The rest of a fraction, of a
# mixed number or of a time says that the digits alone are not the number.
_NUMBER = re.compile(
    rf"{START}(?P<sign>-?)(?P<digits>{NUMBER})"
    r"(?P<rest>(?:(?:(?: and)? |-)[0-9]+)?(?:[/∕⁄:][0-9]+)+)?"
)


def normalised_words(text: str) -> list[str]:
    """Split a text into the words that are compared.

    Words are separated by white space, lower-cased and freed of punctuation and symbols at their
    edges. What then is empty (a dash between spaces) is no word. Articles stay.

    Example:
        >>> normalised_words("The capital is – of course – “Oslo”!")
        ['the', 'capital', 'is', 'of', 'course', 'oslo']
    """
    words = (_EDGES.sub("", unicodedata.normalize("NFC", word.lower())) for word in text.split())
    return [word for word in words if word]


def contains_answer(prediction: str, gold: Sequence[str], *, first_words: int) -> bool:
    """Return whether an answer's words stand side by side within the first words of an output.

    Args:
        prediction: The model's output without the prompt and without calls.
        gold: The accepted answers, at least one; any of them counts.
        first_words: Number of words that count. Of the paper: 5 for LAMA and the temporal sets
            (sections 4.2.1 and 4.2.5), 20 for questions (4.2.3), 10 for MLQA (4.2.4).

    Example:
        >>> contains_answer("a small town near Lyon in France", ["Lyon"], first_words=5)
        True
    """
    words = list(islice(normalised_words(prediction), first_words))
    return any(_occurs(normalised_words(answer), words) for answer in gold)


def answered_number(text: str) -> Decimal | None:
    """Find the number that counts as the answer; None where the text has none.

    It is the first number after the first `=` sign, or the first number of the text where there is
    no `=` or no number follows it. Currency signs are ignored. One that can be read in more than
    one way counts as none, and so does a fraction, which is a sum not worked out, or a time.

    Example:
        >>> answered_number("She pays -$1,250.50 in all.")
        Decimal('-1250.50')
    """
    written = _without_currency_signs(plain(text))
    _, _, after_equals = written.partition("=")
    return _value_of(_NUMBER.search(after_equals) or _NUMBER.search(written))


def last_number(text: str) -> Decimal | None:
    """Find the last number; see `answered_number`.

    Not from the paper: it suits solutions in several steps, each of which has a number.

    Example:
        >>> last_number("48 / 2 = 24 clips in May, and 48 + 24 = 72 in all.")
        Decimal('72')
    """
    *_, last = None, *_NUMBER.finditer(_without_currency_signs(plain(text)))
    return _value_of(last)


def is_number_right(number: Decimal | None, gold: Sequence[str]) -> bool:
    """Return whether a number equals one of the answers to within 1e-4 (paper, section 4.2.2).

    Example:
        >>> is_number_right(answered_number("the sum 9+5=14."), ["14"])
        True
    """
    return number is not None and any(
        abs(float(number) - float(answer)) <= NUMBER_TOLERANCE for answer in gold
    )


def is_number_rounded(number: Decimal | None, gold: Sequence[str]) -> bool:
    """Return whether a number is one of the answers as the Calculator rounds it.

    The Calculator rounds to two decimals, or to three; an answer rounded to more equals the number
    to within 1e-4. It writes at least two decimals: 63 is a guess for 62.999.

    Example:
        >>> [is_number_rounded(Decimal(text), ["0.004"]) for text in ("0.00", "0")]
        [True, False]
    """
    if number is None or not f"{number:f}".partition(".")[2][1:]:
        return False
    values = [rounded(Fraction(answer), decimals) for answer in gold for decimals in (2, 3)]
    # No value that rounds to zero has a sign.
    return any(number == value and number.is_signed() == (value < 0) for value in values)


def _occurs(answer: list[str], words: list[str]) -> bool:
    # An answer of punctuation alone has no words, and an empty list would occur everywhere.
    if not answer:
        return False
    starts = range(len(words) - len(answer) + 1)
    return any(words[start : start + len(answer)] == answer for start in starts)


def _value_of(match: re.Match[str] | None) -> Decimal | None:
    if match is None or match["rest"]:
        return None
    try:
        digits = digits_of(match["digits"], is_alone=False)
    except NumberError:
        return None
    above, _, below = digits.partition("/")
    return Decimal(match["sign"] + above) / Decimal(below or 1)


def _without_currency_signs(text: str) -> str:
    # After a minus the sign vanishes ("-$5" is -5), elsewhere it becomes a space ("US$5" holds 5).
    return regex.sub(r"\p{Sc}", " ", regex.sub(r"(?<=-)\p{Sc}+", "", text))
