"""The words of a text, as texts are compared by them: without case, punctuation and white space.

A run of Thai, Lao, Khmer or Burmese, which have no spaces, is one word.
"""

import unicodedata
from itertools import product

import regex

# Chinese and Japanese are written without spaces: each character counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
# A vowel sign of an Indic script is a mark, and part of its word.
_WORD = regex.compile(rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1)
# Marks within a word, which copies of a text leave out, or write a blank for.
_MARKS = str.maketrans({**dict.fromkeys("’‘ʼʻ", "'"), **dict.fromkeys("‐‑\u00ad", "-")})
_APOSTROPHES = regex.compile(r"(?<=[\w-])'+(?=[\w-])")
_HYPHENS = regex.compile(r"(?<=\w)-+(?=\w)")
# Tokenised texts have `do n't` and `Lyon 's`.
_BLANK_BEFORE_ENDING = regex.compile(r"(?<=\w) (?=(?:n't|'(?:s|re|ve|ll|d|m))\b)")


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case.

    Example:
        >>> words_of("“What has KEYS?” — 1,024 doors…")
        ['what', 'has', 'keys', '1', '024', 'doors']
        >>> words_of("谁写了 दिल्ली?")
        ['谁', '写', '了', 'दिल्ली']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def readings_of(text: str) -> list[list[str]]:
    """The words of a text, with apostrophes and hyphens read as blanks, and as nothing.

    Returns:
        One list for each reading that differs, that with blanks first.

    Example:
        >>> readings_of("It's well-known.")
        [['it', 's', 'well', 'known'], ['it', 's', 'wellknown'], ['its', 'well', 'known'], \
['its', 'wellknown']]
    """
    text = _BLANK_BEFORE_ENDING.sub("", text.translate(_MARKS))
    texts = (
        _HYPHENS.sub(hyphen, _APOSTROPHES.sub(apostrophe, text))
        for apostrophe, hyphen in product((" ", ""), repeat=2)
    )
    readings = (tuple(words_of(each)) for each in dict.fromkeys(texts))
    return [list(words) for words in dict.fromkeys(readings)]
