"""The words of a text, as texts are compared by them: without case, punctuation and white space.

A run of Thai, Lao, Khmer or Burmese, which have no spaces, is one word.
"""

import unicodedata

import regex

# Chinese and Japanese are written without spaces: each character counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
# A vowel sign of an Indic script is a mark, and part of its word.
_WORD = regex.compile(rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1)


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case.

    Example:
        >>> words_of("“What has KEYS?” — 1,024 doors…")
        ['what', 'has', 'keys', '1', '024', 'doors']
        >>> words_of("谁写了 दिल्ली?")
        ['谁', '写', '了', 'दिल्ली']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())
