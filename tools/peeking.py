"""What the arguments of a call take from behind it: a model that decodes cannot know that.

A sampling model is shown the whole text, so it can ask with a name or a number that only the text
behind the call tells. Names are told by their capital letters, so in scripts without them only
numbers count.
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
# Letters that no decomposition takes to plain ones.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)

# In characters; of a longer run of digits the beginning is compared.
_LONGEST_NUMBER = 100
# Words that spell a larger number are read as several, which keeps the values small.
_LARGEST_SPELLED = 10**15

_words = regex.compile(r"\w+").findall
_SMALL: dict[str, int] = dict(
    zip(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
            "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy "
            "eighty ninety"
        ),
        [*range(20), *range(20, 100, 10)],
        strict=True,
    )
)
_LARGE: dict[str, int] = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
}
# They tell a number that stands in front; behind a call they are too common to be its source.
_HINTS = {
    2: "half halves twice double doubles doubled both pair couple second",
    3: "third thirds triple triples tripled",
    4: "quarter quarters fourth fourths",
    5: "fifth fifths",
    6: "sixth",
    7: "seventh",
    8: "eighth",
    9: "ninth",
    10: "tenth tenths",
    100: "percent",
}
_HINT_OF = {word: value for value, words in _HINTS.items() for word in _words(words)}
# Capital letters at the beginning of a question or sentence make no names of these.
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
    """A word or a number.

    Attributes:
        key: What it is compared by: the word without case and accents, or the number's value.
        end: Where it ends, in characters.
        has_capital: Whether it is a word with a capital letter.
        is_name: Whether this letter says that it is a name, since no sentence begins with it.
        is_hint: Whether it only tells a number, as `half` does.
    """

    key: _Key
    text: str
    end: int
    has_capital: bool = False
    is_name: bool = False
    is_hint: bool = False


class TextWords:
    """Numbers and words of a text, prepared for the arguments of many calls.

    Args:
        text: Where the calls stand.
        *known: What is known in front of all of it, such as its title; None is left out.
    """

    def __init__(self, text: str, *known: str | None) -> None:
        # Of each key where its first occurrence ends, and its last; of the last one with a capital
        # letter, and of the last that is a name.
        self._first: dict[_Key, int] = {}
        self._last: dict[_Key, int] = {}
        self._last_capital: dict[_Key, int] = {}
        self._last_name: dict[_Key, int] = {}
        for each in known:
            self._first.update((token.key, 0) for token in _tokens(each or ""))
        for token in _tokens(text):
            self._first.setdefault(token.key, token.end)
            if not token.is_hint:
                self._last[token.key] = token.end
            if token.has_capital:
                self._last_capital[token.key] = token.end
            if token.is_name:
                self._last_name[token.key] = token.end

    def only_behind(self, arguments: str, offset: int) -> list[str]:
        """Find the numbers and names of arguments that the text has behind a place only.

        A capital letter at the beginning of a sentence says nothing alone; a word with one there
        and one in the arguments counts as a name.

        Args:
            offset: The place, in characters of the text; what stands across it is behind it.

        Returns:
            In the order of the arguments, as they are written there, each once.

        Example:
            >>> words = TextWords("The canal took 1,200 men. Port Said grew in 1859.", "Suez")
            >>> words.only_behind("Which year did Port Said at Suez get 1200 men: 1859?", 25)
            ['Port', 'Said', '1859']
            >>> words.only_behind("Port Said 1859", 49)
            []
        """
        found: dict[_Key, str] = {}
        for token in _tokens(arguments):
            is_behind = self._last.get(token.key, 0) > offset
            is_before = self._first.get(token.key, offset + 1) <= offset
            if is_behind and not is_before and self._counts(token, offset):
                found.setdefault(token.key, token.text)
        return list(found.values())

    def holds(self, arguments: str) -> bool:
        """Tell whether all numbers and words of arguments stand in the text or are known."""
        return all(
            token.key in self._first
            for token in _tokens(arguments)
            if isinstance(token.key, Fraction) or _has_meaning(token.key)
        )

    def _counts(self, token: _Token, offset: int) -> bool:
        """Whether a word of arguments is a number or a name."""
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
    """Yield the words of a text, and its numbers in digits and in words."""
    end = 0
    text = plain(text)
    spelled = _SpelledNumber()
    for match in _TOKEN.finditer(text):
        token, between = match.group(), text[end : match.start()]
        begins = end == 0 or _BEGINS_SENTENCE.search(between) is not None
        end = match.end()
        if match.lastgroup == "number":
            for value in _values(token):
                yield _Token(value, token, end)
            if "%" in text[end : end + 2]:
                yield _Token(Fraction(100), "%", end, is_hint=True)
            continue
        key = _folded(token)
        # Any capital letter but the first makes a name wherever it stands: eBay, NATO.
        is_inside = token[1:] != token[1:].lower()
        has_capital = is_inside or token[0] != token[0].lower()
        yield _Token(key, token, end, has_capital, has_capital and (is_inside or not begins))
        for value in spelled.values(key, match, between):
            # "one" is a pronoun as well.
            is_hint = value == 1 or key in _HINT_OF
            yield _Token(Fraction(value), token, end, is_hint=is_hint)


def _values(number: str) -> list[Fraction]:
    """The value of a number; of one that can be read in several ways, that of each part."""
    try:
        return [Fraction(digits_of(number, is_alone=False))]
    except NumberError:
        return [Fraction(part[:_LONGEST_NUMBER]) for part in _DIGITS.findall(number)]


class _SpelledNumber:
    """A number in words, as far as it was read: `two hundred and five`."""

    def __init__(self) -> None:
        # What is before its last "thousand", what is behind it, and where it ends.
        self._whole, self._part, self._end = 0, 0, -1

    def values(self, key: str, match: regex.Match[str], between: str) -> Iterable[int]:
        """Take the next word and return the values that it tells: alone, and with those before."""
        goes_on = self._end == match.start() - len(between) and between in {" ", "-"}
        if key == "and" and goes_on:
            self._end = match.end()
        if key not in _SMALL and key not in _LARGE:
            return (_HINT_OF[key],) if key in _HINT_OF else ()
        if not goes_on or self._part > _LARGEST_SPELLED:
            self._whole, self._part = 0, 0
        own = _SMALL[key] if key in _SMALL else _LARGE[key]
        self._part = self._part + own if key in _SMALL else max(self._part, 1) * own
        if own >= 1000:
            self._whole, self._part = self._whole + self._part, 0
        self._end = match.end()
        return sorted({own, self._whole + self._part})


def _folded(word: str) -> str:
    """Write a word without case and accents."""
    decomposed = unicodedata.normalize("NFKD", word)
    letters = (letter for letter in decomposed if not unicodedata.combining(letter))
    return "".join(letters).casefold().translate(_PLAIN)
