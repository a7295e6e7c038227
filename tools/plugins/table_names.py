"""How the names of a table are compared: without case, accents and punctuation, or by one edit."""

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
_ROMAN = re.compile("[ivxlcdm]+")

_VOWELS = frozenset("aeiouy")
# Letters of a word from which on two that changed places are a slip; see `are_near`.
_FOR_SWAPPED, _FOR_SWAPPED_LIKE_NAMES = 5, 9


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


def are_near(name: str, other: str) -> bool:
    """Whether two folded names differ by a slip of writing, and can hardly be those of two things.

    Two letters inside one word changed places. One letter more, less or another tells people and
    things apart: Christine and Christiane, McDonald and MacDonald, Nicholson and Nicolson, Bob
    Johnson and Johnston, South Australia and Australian, Henry VII and VIII. So do two vowels that
    changed places (Ziegler and Zeigler). Two consonants, or a vowel and one of h, l and r, are a
    slip in a word of at least nine letters (not Singer and Signer, Kristen and Kirsten), another
    pair in one of at least five.

    Example:
        >>> are_near("ada lovelace", "ada loevlace"), are_near("anna wagner", "anna wanger")
        (True, False)
    """
    words, others = name.split(" "), other.split(" ")
    if len(words) != len(others):
        return False
    changed = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return len(changed) == 1 and _is_slip(*changed[0])


def _is_slip(word: str, other: str) -> bool:
    if len(word) != len(other) or _ROMAN.fullmatch(word) or not word.isalpha():
        return False
    letters = enumerate(zip(word, other, strict=True))
    place = next(place for place, (one, two) in letters if one != two)
    first, second, behind = word[place], word[place + 1 : place + 2], word[place + 2 :]
    if place == 0 or not behind or word[:place] + second + first + behind != other:
        return False
    vowels = _VOWELS.intersection(first + second)
    tells_apart = not vowels or {"h", "l", "r"}.intersection(first + second)
    fewest = _FOR_SWAPPED_LIKE_NAMES if tells_apart else _FOR_SWAPPED
    return len(vowels) < 2 and len(word) >= fewest
