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

# Two spellings of which people have both: McDonald and MacDonald, Jonathan and Johnathan.
_TWO_SPELLINGS = re.compile("(?<=^m)a(?=c)|(?<=[aeiouy])h(?=[lmnr])")
# Letters of the shorter word from which on a slip is taken for one; see `are_near`.
_FOR_SWAPPED, _FOR_MISSING, _FOR_OTHER = 6, 8, 10


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

    One word differs, inside and in its letters only: two that changed places (of at least six), one
    that is missing (eight), or another one (ten). Less tells people and things apart: James Franck
    and Franco, Bob Johnson and Johnston, Jack Shephard and Sheppard, McDonald and MacDonald, South
    Australia and Australian, Henry VII and VIII, any two numbers.

    Example:
        >>> are_near("albert einstein", "albert einstien"), are_near("john miller", "john milner")
        (True, False)
        >>> are_near("dante alighieri", "dante aligheri"), are_near("list 12345678", "list 1234568")
        (True, False)
    """
    words, others = name.split(" "), other.split(" ")
    if len(words) != len(others):
        return False
    changed = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return len(changed) == 1 and _is_slip(*changed[0])


def _is_slip(word: str, other: str) -> bool:
    longer, shorter = (word, other) if len(word) >= len(other) else (other, word)
    if longer[:1] != shorter[:1] or longer[-1:] != shorter[-1:]:
        return False
    if _ROMAN.fullmatch(longer) or not (longer + shorter).isalpha():
        return False
    if _TWO_SPELLINGS.sub("", longer) == _TWO_SPELLINGS.sub("", shorter):
        return False
    letters = enumerate(zip(longer, shorter, strict=False))
    place = next((place for place, (one, two) in letters if one != two), len(shorter))
    rest, other_rest = longer[place:], shorter[place:]
    if len(longer) > len(shorter):
        # Two letters at least stay behind it: crusaders are no crusades.
        return rest[1:] == other_rest and len(shorter) >= _FOR_MISSING and len(rest) > 2
    if rest[1:] == other_rest[1:]:
        return len(shorter) >= _FOR_OTHER
    is_swapped = rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:]
    return is_swapped and len(shorter) >= _FOR_SWAPPED
