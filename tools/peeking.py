"""Detects calls whose arguments use names or numbers that only appear after the call.

A model that samples calls sees the whole text and can write such a call; a model that decodes
cannot. Names are recognised by capital letters, so only numbers count in scripts without them.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import regex

from toolformer.base.constants import FUNCTION_WORDS
from tools.numbers import NUMBER, NumberError, digits_of, plain

_TOKEN = regex.compile(rf"(?P<number>{NUMBER})|(?P<word>\p{{L}}[\p{{L}}\p{{M}}]*)")
_DIGITS = regex.compile(r"[0-9]*\.?[0-9]+")
_BEGINS_SENTENCE = regex.compile(r"[.!?…:;•|\n\"“”„«=]")
# Letters that Unicode does not decompose into ASCII letters.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)

# Only this many characters of a longer run of digits are compared.
_LONGEST_NUMBER = 100
# Words that spell a larger number are read as several numbers.
_LARGEST_SPELLED = 10**15

_words = regex.compile(r"\w+").findall
_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 20 + 10 * index for index, word in enumerate(_TENS)
}
_LARGE = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
# Words that imply a number, such as "double" for 2. Before a call they make the number known. After
# it they are too common to count as the source of the number.
_HINTS = (
    "half halves twice double doubles doubled both pair couple second",
    "third thirds triple triples tripled",
    *("quarter quarters fourth fourths", "fifth fifths", "sixth", "seventh", "eighth", "ninth"),
    "tenth tenths",
)
_HINT_OF = {word: value for value, words in enumerate(_HINTS, 2) for word in _words(words)}
_HINT_OF["percent"] = 100
# Words that are never names, even with a capital letter.
_FUNCTION_WORDS = FUNCTION_WORDS | frozenset(
    _words(
        "about above after again all along also although always another any around because before "
        "below between both can could down during each every few here hers him how just later "
        "many may me might more most much must my near never now off once one only other our out "
        "own per same shall should since through too under until up upon us very we what why "
        "within without yes you your"
    )
)

_Key: TypeAlias = str | Fraction


class _Token(NamedTuple):
    """Word or number of a text; `key` is the word without case and accents, or the value."""

    key: _Key
    text: str
    end: int
    has_capital: bool = False
    is_name: bool = False
    is_hint: bool = False


class TextWords:
    """Index of a text's numbers and words; `known` texts, such as its title, count as before it."""

    def __init__(self, text: str, *known: str | None) -> None:
        # End offsets per key: of its first occurrence, its last, its last with a capital letter,
        # and its last as a name.
        self._first: dict[_Key, int] = {}
        self._last: dict[_Key, int] = {}
        self._last_capital: dict[_Key, int] = {}
        self._last_name: dict[_Key, int] = {}
        for known_text in known:
            self._first.update((token.key, 0) for token in _tokens(known_text or ""))
        for token in _tokens(text):
            self._first.setdefault(token.key, token.end)
            if not token.is_hint:
                self._last[token.key] = token.end
            if token.has_capital:
                self._last_capital[token.key] = token.end
            if token.is_name:
                self._last_name[token.key] = token.end

    def only_after(self, arguments: str, offset: int) -> list[str]:
        """Return the numbers and names in arguments that the text contains only after an offset.

        A capitalised word at the beginning of a sentence is a name if the arguments capitalise it
        too. A word that spans the offset counts as after it.

        Example:
            >>> words = TextWords("The canal took 1,200 men. Port Said grew in 1859.", "Suez")
            >>> words.only_after("Which year did Port Said at Suez get 1200 men: 1859?", 25)
            ['Port', 'Said', '1859']
            >>> words.only_after("Port Said 1859", 49)
            []
        """
        found: dict[_Key, str] = {}
        for token in _tokens(arguments):
            is_after = self._last.get(token.key, 0) > offset
            is_before = self._first.get(token.key, offset + 1) <= offset
            if is_after and not is_before and self._is_number_or_name(token, offset):
                found.setdefault(token.key, token.text)
        return list(found.values())

    def contains_all(self, arguments: str) -> bool:
        """Return whether all numbers and content words of arguments are in the text or known."""
        return all(
            token.key in self._first
            for token in _tokens(arguments)
            if isinstance(token.key, Fraction) or _has_meaning(token.key)
        )

    def _is_number_or_name(self, token: _Token, offset: int) -> bool:
        if isinstance(token.key, Fraction):
            return token.text[-1].isnumeric()
        return _has_meaning(token.key) and (
            token.is_name
            or self._last_name.get(token.key, 0) > offset
            or (token.has_capital and self._last_capital.get(token.key, 0) > offset)
        )


def _has_meaning(word: str) -> bool:
    return len(word) > 1 and word not in _FUNCTION_WORDS


def _tokens(text: str) -> Iterator[_Token]:
    """Yield the words of a text, and its numbers in digits or words."""
    end = 0
    text = plain(text)
    spelled = _SpelledNumber()
    for match in _TOKEN.finditer(text):
        token, between = match.group(), text[end : match.start()]
        begins_sentence = end == 0 or _BEGINS_SENTENCE.search(between) is not None
        end = match.end()
        if match.lastgroup == "number":
            for value in _values(token):
                yield _Token(value, token, end)
            if "%" in text[end : end + 2]:
                yield _Token(Fraction(100), "%", end, is_hint=True)
            continue
        key = _folded(token)
        # A capital letter inside a word always makes it a name: eBay, NATO.
        has_inner_capital = token[1:] != token[1:].lower()
        has_capital = has_inner_capital or token[0] != token[0].lower()
        is_name = has_capital and (has_inner_capital or not begins_sentence)
        yield _Token(key, token, end, has_capital, is_name)
        for value in spelled.values(key, match, between):
            # "one" may also be a pronoun.
            is_hint = value == 1 or key in _HINT_OF
            yield _Token(Fraction(value), token, end, is_hint=is_hint)


def _values(number: str) -> list[Fraction]:
    """Return the value of a number, or of each of its parts if it has several readings."""
    try:
        return [Fraction(digits_of(number, is_single_number=False))]
    except NumberError:
        return [Fraction(part[:_LONGEST_NUMBER]) for part in _DIGITS.findall(number)]


class _SpelledNumber:
    """Reader of numbers in words, such as `two hundred and five`."""

    def __init__(self) -> None:
        # Value up to the last "thousand", value of the words after it, and end of the last word.
        self._whole, self._part, self._end = 0, 0, -1

    def values(self, key: str, match: regex.Match[str], between: str) -> Iterable[int]:
        """Return the values that end with this word: its own, and that of the number so far."""
        continues = self._end == match.start() - len(between) and between in {" ", "-"}
        if key == "and" and continues:
            self._end = match.end()
        if key not in _SMALL and key not in _LARGE:
            return (_HINT_OF[key],) if key in _HINT_OF else ()
        if not continues or self._part > _LARGEST_SPELLED:
            self._whole, self._part = 0, 0
        own = _SMALL[key] if key in _SMALL else _LARGE[key]
        self._part = self._part + own if key in _SMALL else max(self._part, 1) * own
        if own >= 1000:
            self._whole, self._part = self._whole + self._part, 0
        self._end = match.end()
        return sorted({own, self._whole + self._part})


def _folded(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word)
    letters = (letter for letter in decomposed if not unicodedata.combining(letter))
    return "".join(letters).casefold().translate(_PLAIN)
