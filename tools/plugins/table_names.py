"""How the names of a table are compared: without case, accents and punctuation, or by one edit."""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

# What separates words as a blank does. Signs that tell names apart stay: C, C# and C++.
_GAPS = r"""\s_.,;:!?'"`´‘’‚‛“”„«»‹›()\[\]{}‐‑‒–—―/\\…·•|-"""
# Between digits it stays, so that 3.5 is not 35, and so does the sign of a number.
_WORD = re.compile(rf"(?:[^{_GAPS}]|(?<=\d)[.,:'/-](?=\d)|(?<![^\s(])-(?=\d))+")
# Accents of letters; the marks of other scripts make other letters.
_ACCENTS = re.compile("[\u0300-\u036f]")
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th"})
_ROMAN = re.compile("[ivxlcdm]+")

# See `are_near`.
_FEWEST_LETTERS = 6


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
    """Whether two folded names differ by a slip of writing.

    That is one letter that is missing, too many, another, or changed places with the next, in one
    word of at least six letters, and not its first letter. Shorter words, numbers and Roman
    numerals tell people and things apart: George W. and George H. Bush, Henry VII and VIII.

    Example:
        >>> are_near("barack obama", "barak obama"), are_near("albert einstein", "albert einstien")
        (False, True)
    """
    words, others = name.split(" "), other.split(" ")
    if len(words) != len(others):
        return False
    changed = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return len(changed) == 1 and _is_slip(*changed[0])


def _is_slip(word: str, other: str) -> bool:
    if word[0] != other[0] or min(len(word), len(other)) < _FEWEST_LETTERS:
        return False
    if (
        not (word.isalpha() and other.isalpha())
        or _ROMAN.fullmatch(word)
        or _ROMAN.fullmatch(other)
    ):
        return False
    longer, shorter = (word, other) if len(word) >= len(other) else (other, word)
    place = next(
        (n for n, (a, b) in enumerate(zip(longer, shorter, strict=False)) if a != b), len(shorter)
    )
    rest, other_rest = longer[place:], shorter[place:]
    if len(longer) > len(shorter):
        return rest[1:] == other_rest
    is_swapped = rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:]
    return rest[1:] == other_rest[1:] or is_swapped
