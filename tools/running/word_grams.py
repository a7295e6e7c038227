"""Eight words in a row: what two texts share that is no accident."""

import re
from collections.abc import Sequence

GRAM_WORDS = 8

WORD = re.compile(r"\w+")

Gram = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """The words of a text, whatever their case."""
    return [word.casefold() for word in WORD.findall(text)]


def grams_of(words: Sequence[str]) -> frozenset[Gram]:
    """All sequences of eight words; none where there are fewer."""
    return frozenset(
        tuple(words[start : start + GRAM_WORDS]) for start in range(len(words) - GRAM_WORDS + 1)
    )
