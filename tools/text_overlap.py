"""Measures how much of a passage or result a text repeats, in sequences of eight words.

A result that repeats sentences of the text makes these sentences easy to predict without being
useful. The paper's filter would keep such calls for the wrong reason.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import regex

from tools.protocol import Document

GRAM_WORDS = 8
# A text repeats a passage if it contains at least this share of the passage's sequences.
OVERLAP_SHARE = 0.5

# Unlike in `re`, vowel signs and accents are part of a word in `regex`.
_WORD = regex.compile(r"\w+")
_SITE_NAME = re.compile(r"\s+[-–—|]\s+wikipedia\b.*$")
_Gram: TypeAlias = tuple[str, ...]


class LeakCheck:
    """Index of a text, for checking the results of many calls."""

    def __init__(self, text: str) -> None:
        # End offsets of the first and the last occurrence of each sequence.
        self._ends: dict[_Gram, tuple[int, int]] = {}
        # Offsets are those of the original text, since case folding can change its length.
        words = [(word.group().casefold(), word.end()) for word in _WORD.finditer(text)]
        for number in range(len(words) - GRAM_WORDS + 1):
            gram, ends = zip(*words[number : number + GRAM_WORDS], strict=True)
            first_end, _ = self._ends.get(gram, (ends[-1], 0))
            self._ends[gram] = (first_end, ends[-1])

    def shares(self, result: str, character_offset: int) -> tuple[float, float] | None:
        """Return the shares of a result that the text repeats before and after a call.

        Shares (0 to 1) count the result's 8-word sequences. None for fewer than 8 words: a short
        result, such as a number or name, is meant to occur again.

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


class DocumentMatcher:
    """Index of one document, for comparison with many passages."""

    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._url = normalised_url(document.url or "")
        self._title = normalised_title(document.title or "")

    def is_own_source(self, *, title: str, url: str, text: str) -> bool:
        """Return whether the document has the passage's URL or title, or repeats its text."""
        return (
            bool(self._url and normalised_url(url) == self._url)
            or bool(self._title and normalised_title(title) == self._title)
            or self.overlap(text) >= OVERLAP_SHARE
        )

    def overlap(self, text: str) -> float:
        """Return the share of a passage's 8-word sequences that the document contains."""
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
    """Return host without `www.` and `m.`, decoded path without final slash, and query.

    Example:
        >>> normalised_url("http://en.m.wikipedia.org/wiki/Caf%C3%A9_noir/#History")
        'en.wikipedia.org/wiki/Café_noir'
    """
    url = url.strip()
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:  # for example an unclosed bracket in the host
        return url
    labels = [label for label in parts.netloc.casefold().split(".") if label not in ("www", "m")]
    path = unquote(parts.path).replace(" ", "_").rstrip("/")
    return f"{'.'.join(labels)}{path}{'?' if parts.query else ''}{parts.query}"


def normalised_title(title: str) -> str:
    """Fold case, replace underscores by spaces, and remove a suffix such as " – Wikipedia".

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
