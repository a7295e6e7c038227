"""How the names of a table are compared: without case, accents and punctuation."""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from tools.numbers import UNSPACED

# What separates words as a blank does. Signs that tell names apart stay: C, C# and C++.
_GAPS = (
    r"""\s_.,;:!?'"`´‘’‚‛“”„«»‹›()\[\]{}‐‑‒–—―/\\…·•・、。，；：！？（）「」『』《》〈〉【】|-"""
)
# Between digits it stays, so that 3.5 is not 35, and so does the sign of a number.
# Where no blanks part words, each letter is one.
_WORD = re.compile(
    rf"[{UNSPACED}][\u3099\u309a]*"
    rf"|(?:[^{UNSPACED}{_GAPS}]|(?<=\d)[.,:'/-](?=\d)|(?<![^\s(])-(?=\d))+"
)
# Accents of letters; the marks of other scripts make other letters.
_ACCENTS = re.compile("[\u0300-\u036f]")
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th"})


class Word(NamedTuple):
    """A word of a text: how it is compared, and where it stands, in characters."""

    folded: str
    start: int
    end: int


def words_of(text: str) -> Iterator[Word]:
    """Yield the words of a text as `folded` writes them."""
    for match in _WORD.finditer(text):
        yield Word(_folded_word(match.group()), *match.span())


def folded(name: str) -> str:
    """Write a name without case and accents, and with one blank for other marks in between.

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
