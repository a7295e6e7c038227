"""The words of a text, as texts are compared by them: without case, punctuation and white space.

Does not stem, and does not split languages that are written without spaces.
"""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case.

    Example:
        >>> words_of("“What has KEYS?” — 1,024 doors…")
        ['what', 'has', 'keys', '1', '024', 'doors']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())
