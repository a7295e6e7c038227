"""Folds the names of a table for comparison: without case, accents and punctuation."""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from tools.numbers import UNSPACED

# Characters that separate words as a blank does. Signs that distinguish names (C, C#, C++) are not
# included.
_GAPS = (
    r"""\s_.,;:!?'"`´‘’‚‛“”„«»‹›()\[\]{}‐‑‒–—―/\\…·•・、。，；：！？（）「」『』《》〈〉【】|-"""
)
# Punctuation between digits and the sign of a number are kept, so that 3.5 is not 35. In scripts
# without blanks, each letter is a word.
_WORD = re.compile(
    rf"[{UNSPACED}][\u3099\u309a]*"
    rf"|(?:[^{UNSPACED}{_GAPS}]|(?<=\d)[.,:'/-](?=\d)|(?<![^\s(])-(?=\d))+"
)
# Accents of Latin, Greek and Cyrillic letters. In other scripts a mark makes a different letter.
_ACCENTS = re.compile("[\u0300-\u036f]")
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th"})


class Word(NamedTuple):
    folded: str
    start: int
    end: int


def words_of(text: str) -> Iterator[Word]:
    for match in _WORD.finditer(text):
        yield Word(_folded_word(match.group()), *match.span())


def folded(name: str) -> str:
    """Fold case and accents, and replace punctuation between words by one blank.

    Example:
        >>> folded("Peter  F. MARTIN"), folded("São_Paulo"), folded("1,000.5 C++")
        ('peter f martin', 'sao paulo', '1,000.5 c++')
    """
    return " ".join(map(_folded_word, _WORD.findall(name)))


def _folded_word(word: str) -> str:
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKC", _ACCENTS.sub("", unicodedata.normalize("NFKD", word)))
    return plain.casefold().translate(_PLAIN)
