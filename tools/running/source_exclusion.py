"""Decides whether a passage is the source, or a copy, of a call's own text.

A search result that holds the text's own sentences makes those sentences easy to predict without
being of any use, so such calls would pass the filter of the paper for the wrong reason.
"""

import re
from functools import cached_property
from urllib.parse import unquote, urlsplit

from tools.protocol import Document
from tools.running.word_grams import GRAM_WORDS, Gram, grams_of, words_of

_SITE_NAME = re.compile(r"\s+[-–—|]\s+wikipedia\b.*$")


class AskingText:
    """A call's own text, prepared for comparison with many passages.

    Args:
        overlap_share: Share of a passage's 8-word sequences, 0 to 1, from which on the passage
            counts as repeated by the text.
    """

    def __init__(self, document: Document, overlap_share: float) -> None:
        self._text = document.text
        self._url = normalised_url(document.url or "")
        self._title = normalised_title(document.title or "")
        self._overlap_share = overlap_share

    def is_own_source(self, *, title: str, url: str, text: str) -> bool:
        """Tell whether a passage must not answer a call of this text.

        Args:
            url: Address of the article; empty where unknown.
            text: The passage, or the part of it that would be shown.

        Returns:
            True for the same address, the same title, or repeated words.
        """
        if self._url and normalised_url(url) == self._url:
            return True
        if self._title and normalised_title(title) == self._title:
            return True
        return self.overlap(text) >= self._overlap_share

    def overlap(self, text: str) -> float:
        """Return the share of a passage's 8-word sequences that the text contains.

        Args:
            text: The passage; one of fewer than 8 words is one sequence.
        """
        words = words_of(text)
        if not words:
            return 0.0
        if len(words) < GRAM_WORDS:
            return float(f" {' '.join(words)} " in f" {' '.join(self._words)} ")
        grams = grams_of(words)
        return len(grams & self._grams) / len(grams)

    @cached_property
    def _words(self) -> list[str]:
        return words_of(self._text)

    @cached_property
    def _grams(self) -> frozenset[Gram]:
        return grams_of(self._words)


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
