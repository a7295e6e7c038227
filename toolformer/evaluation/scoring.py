"""Scoring rules of the benchmarks: is a model's output counted as correct?

The caller removes every call from the output first, so that the words of a call never count among
the first words.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from itertools import islice

NUMBER_TOLERANCE = 1e-4

# A digit that follows a letter or another digit starts no number ("H2O"), and a minus sign that
# follows one is an operator ("9-5"). A comma joins digits only in groups of three, so that "3,4"
# stays two numbers.
_NUMBER = re.compile(
    r"(?<!\w)-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)
_MINUS_SIGN = "\N{MINUS SIGN}"


def normalised_words(text: str) -> list[str]:
    """Split a text into the words that are compared.

    Words are separated by white space, lower-cased and freed of punctuation and symbols at their
    edges. What then is empty (a dash between spaces) is no word. Articles stay.

    Example:
        >>> normalised_words("The capital is – of course – “Oslo”!")
        ['the', 'capital', 'is', 'of', 'course', 'oslo']
    """
    words = (_strip_edges(unicodedata.normalize("NFC", word.lower())) for word in text.split())
    return [word for word in words if word]


def contains_answer(prediction: str, gold: Sequence[str], *, first_words: int) -> bool:
    """Tell whether all words of an answer stand side by side within the first words of an output.

    Args:
        prediction: The model's output without the prompt and without calls.
        gold: The accepted answers; any of them counts.
        first_words: How many words are looked at.

    Example:
        >>> score_lama("a small town near Lyon in France", ["Lyon"])
        True
    """
    if isinstance(gold, str):
        raise TypeError(
            f"The accepted answers are the single text {gold!r}; expected a sequence of texts. "
            f"Pass [{gold!r}]."
        )
    if not gold:
        raise ValueError(
            "There are no accepted answers; at least one is needed to score an output. "
            "Leave the example out."
        )
    words = list(islice(normalised_words(prediction), first_words))
    return any(_occurs(normalised_words(answer), words) for answer in gold)


# Paper, section 4.2.1; also for the temporal sets (section 4.2.5).
score_lama = partial(contains_answer, first_words=5)
# Section 4.2.3.
score_qa = partial(contains_answer, first_words=20)
# Section 4.2.4; the answers are in English.
score_mlqa = partial(contains_answer, first_words=10)


def score_math(prediction: str, gold: float) -> bool:
    """Tell whether the number an output gives equals the answer to within 1e-4.

    Paper: section 4.2.2.

    Example:
        >>> score_math("the sum 9+5=14.", 14)
        True
    """
    if not math.isfinite(gold):
        raise ValueError(
            f"The answer {gold!r} is not a finite number; a mathematics question needs one. "
            "Correct or leave out the example."
        )
    number = answered_number(prediction)
    return number is not None and abs(number - gold) <= NUMBER_TOLERANCE


def score_numbers(prediction: str, gold: Sequence[str]) -> bool:
    """Tell whether the number an output gives equals one of the answers; see `score_math`."""
    return any(score_math(prediction, float(number)) for number in gold)


def score_last_number(prediction: str, gold: Sequence[str]) -> bool:
    """Tell whether the last number of an output equals one of the answers to within 1e-4.

    For solutions in several steps, each of which has a number; not from the paper, whose rule takes
    the first.

    Example:
        >>> score_last_number("48 / 2 = 24 clips in May, and 48 + 24 = 72 in all.", ["72"])
        True
    """
    numbers = _NUMBER.findall(_without_currency_signs(prediction).replace(_MINUS_SIGN, "-"))
    return bool(numbers) and any(
        abs(float(numbers[-1].replace(",", "")) - float(number)) <= NUMBER_TOLERANCE
        for number in gold
    )


def answered_number(text: str) -> float | None:
    """Find the number that counts as the answer; None where the text has none.

    It is the first number after the first `=` sign, or the first number of the text where there is
    no `=` or no number follows it. Currency signs and the commas between thousands are ignored.

    Example:
        >>> answered_number("She pays -$1,250.50 in all.")
        -1250.5
    """
    plain = _without_currency_signs(text).replace(_MINUS_SIGN, "-")
    _, _, after_equals = plain.partition("=")
    match = _NUMBER.search(after_equals) or _NUMBER.search(plain)
    return None if match is None else float(match[0].replace(",", ""))


def _occurs(answer: list[str], words: list[str]) -> bool:
    # An answer of punctuation alone has no words, and an empty list would occur everywhere.
    if not answer:
        return False
    starts = range(len(words) - len(answer) + 1)
    return any(words[start : start + len(answer)] == answer for start in starts)


def _strip_edges(word: str) -> str:
    start, end = 0, len(word)
    while start < end and _is_punctuation(word[start]):
        start += 1
    while end > start and _is_punctuation(word[end - 1]):
        end -= 1
    return word[start:end]


def _is_punctuation(character: str) -> bool:
    # Symbols too: ASCII counts $ + < = > ^ ` | ~ among punctuation, Unicode files them under S.
    return unicodedata.category(character)[0] in "PS"


def _without_currency_signs(text: str) -> str:
    # After a minus the sign vanishes ("-$5" is -5), elsewhere it becomes a space ("US$5" holds 5).
    pieces: list[str] = []
    for character in text:
        if unicodedata.category(character) != "Sc":
            pieces.append(character)
        elif not (pieces and pieces[-1] in ("-", _MINUS_SIGN)):
            pieces.append(" ")
    return "".join(pieces)
