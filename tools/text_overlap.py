"""What a call's own text shares with a passage, or with a result: sequences of eight words.

A search result that holds the text's own sentences makes those sentences easy to predict without
being of any use, so the filter of the paper would keep such calls for the wrong reason.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import regex

from tools.protocol import Document

GRAM_WORDS = 8
# The share of a passage's sequences from which on it counts as repeated by a text.
OVERLAP_SHARE = 0.5

# To `regex`, unlike `re`, vowel signs and accents are part of a word.
_WORD = regex.compile(r"\w+")
_SITE_NAME = re.compile(r"\s+[-–—|]\s+wikipedia\b.*$")
_Gram: TypeAlias = tuple[str, ...]


class LeakCheck:
    """One text, prepared for the results of many calls."""

    def __init__(self, text: str) -> None:
        # For each sequence where its first and its last occurrence end.
        self._ends: dict[_Gram, tuple[int, int]] = {}
        # Places are those of the text itself: folding its case can change its length.
        words = [(word.group().casefold(), word.end()) for word in _WORD.finditer(text)]
        for number in range(len(words) - GRAM_WORDS + 1):
            gram, ends = zip(*words[number : number + GRAM_WORDS], strict=True)
            first_end, _ = self._ends.get(gram, (ends[-1], 0))
            self._ends[gram] = (first_end, ends[-1])

    def shares(self, result: str, character_offset: int) -> tuple[float, float] | None:
        """How much of a result the text repeats, in front of the place of a call and behind it.

        Returns:
            Shares of the result's 8-word sequences that end before and behind the place, 0 to 1;
            None for a result of fewer than 8 words, which repeats nothing for certain:
            that a number or a name occurs again is what a call is for.

        Example:
            >>> check = LeakCheck("It is said: one two three four five six seven eight.")
            >>> check.shares("One two three four five six seven eight nine", 0)
            (0.0, 0.5)
        """
        grams = _grams_of(_words_of(result))
        if not grams:
            return None
        ends = [self._ends[gram] for gram in grams if gram in self._ends]
        before = sum(first <= character_offset for first, _ in ends)
        after = sum(last > character_offset for _, last in ends)
        return before / len(grams), after / len(grams)


class AskingText:
    """A call's own text, prepared for comparison with many passages."""

    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._url = normalised_url(document.url or "")
        self._title = normalised_title(document.title or "")

    def is_own_source(self, *, title: str, url: str, text: str) -> bool:
        """Tell whether a passage must not answer a call of this text.

        Returns:
            True for the same address, the same title, or repeated words.
        """
        if self._url and normalised_url(url) == self._url:
            return True
        if self._title and normalised_title(title) == self._title:
            return True
        return self.overlap(text) >= OVERLAP_SHARE

    def overlap(self, text: str) -> float:
        """Return the share of a passage's 8-word sequences that the text contains."""
        words = _words_of(text)
        if not words:
            return 0.0
        if len(words) < GRAM_WORDS:
            return float(f" {' '.join(words)} " in f" {' '.join(self._words)} ")
        grams = _grams_of(words)
        return len(grams & self._grams) / len(grams)

    @cached_property
    def _words(self) -> list[str]:
        return _words_of(self._text)

    @cached_property
    def _grams(self) -> frozenset[_Gram]:
        return _grams_of(self._words)


def normalised_url(url: str) -> str:
    """Bring spellings of one address together.

    Returns:
        Host without `www.` and the mobile `m.`, decoded path without final slash, and query.

    Example:
        >>> normalised_url("http://en.m.wikipedia.org/wiki/Caf%C3%A9_noir/#History")
        'en.wikipedia.org/wiki/Café_noir'
    """
    url = url.strip()
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:  # such as an unclosed bracket in the host
        return url
    labels = [label for label in parts.netloc.casefold().split(".") if label not in ("www", "m")]
    path = unquote(parts.path).replace(" ", "_").rstrip("/")
    return f"{'.'.join(labels)}{path}{'?' if parts.query else ''}{parts.query}"


def normalised_title(title: str) -> str:
    """Bring spellings of one title together.

    Returns:
        Case-folded, with spaces for underscores, without the name of the site.

    Example:
        >>> normalised_title("Suez_Canal – Wikipedia, the free encyclopedia")
        'suez canal'
    """
    return _SITE_NAME.sub("", " ".join(title.replace("_", " ").split()).casefold())


def _words_of(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _grams_of(words: Sequence[str]) -> frozenset[_Gram]:
    return frozenset(
        tuple(words[start : start + GRAM_WORDS]) for start in range(len(words) - GRAM_WORDS + 1)
    )
