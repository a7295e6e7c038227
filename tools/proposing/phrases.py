"""Phrases of a text in another script or language, and where their translation may follow.

A call stands behind the phrase that it translates, so the place is in front of what
follows: the word behind "means" or the like where there is one near, else whatever comes next. A
phrase in another language is found between punctuation only, so that its edges are sure.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import regex

from tools.protocol import Proposal
from tools.translation.identification import guess_language

_PART = re.compile(r"[^.!?…:;()\[\]\"“”„«»‹›‘—–|]+")
# To `regex`, unlike `re`, vowel signs, accents and joiners are part of a word.
_WORD = regex.compile(r"\p{L}[\w'’-]*")
# Fewer words, and lists of names, are taken for another language too easily.
_FEWEST_WORDS = 5
_FEWEST_LETTERS = 3
# Most characters of a phrase to translate.
LONGEST_PHRASE = 500
# Not Latin letters, nor their extensions and modifiers; a run of these is another script.
_OTHER_LETTER = regex.compile(r"(?![A-Za-z\u00aa-\u02ff\u1e00-\u1eff])\p{L}")
_OTHER_SCRIPT = regex.compile(
    rf"{_OTHER_LETTER.pattern}(?:\w|[\s,、。・'’-](?={_OTHER_LETTER.pattern}))*"
)
_CLOSING = re.compile(r"[.!?…]*[\"”»›’)]*")
_MEANS = re.compile(
    r"[^\n.!?]{0,40}?\b(?:means?|meaning|translate[sd]? (?:as|to)|(?:word|name|term) for|"
    r"English(?: for)?)\b[,:]? (?=[\w\"“‘(«])"
)


def propose_translations(text: str) -> list[Proposal]:
    """Propose calls behind phrases in another script or language, with the phrase as arguments.

    Returns:
        Places by offset, at most one for a phrase; none behind a phrase that ends its line or
        that another foreign one follows.

    Example:
        >>> text = "The Russian word мир means peace, and world."
        >>> [proposal] = propose_translations(text)
        >>> text[proposal.offset :], proposal.arguments
        ('peace, and world.', 'мир')
    """
    phrases = [*_in_other_scripts(text), *_in_other_languages(text)]
    proposals = {}
    for start, end in sorted(phrases):
        phrase = " ".join(text[start:end].split())
        offset = _offset_behind(text, end)
        if offset is not None and len(phrase) <= LONGEST_PHRASE:
            proposals.setdefault(offset, Proposal(offset, phrase))
    return [proposals[offset] for offset in sorted(proposals)]


def _in_other_scripts(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the phrases that are not written in Latin letters."""
    for match in _OTHER_SCRIPT.finditer(text):
        if sum(map(str.isalpha, match.group())) >= _FEWEST_LETTERS:
            yield match.span()


def _in_other_languages(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the phrases between punctuation whose language is not English."""
    offset = 0
    for line in text.splitlines(keepends=True):
        parts = [
            (offset + match.start(), list(_WORD.finditer(match.group())))
            for match in _PART.finditer(line)
        ]
        parts = [(start, words) for start, words in parts if words]
        flags = [_is_foreign(words) for _, words in parts]
        for ((start, words), is_foreign), (_, goes_on) in pairwise(zip(parts, flags, strict=True)):
            if is_foreign and not goes_on:
                yield start + words[0].start(), start + words[-1].end()
        offset += len(line)


def _is_foreign(words: Sequence[regex.Match[str]]) -> bool:
    part = words[0].string
    small = sum(word.group()[0].islower() for word in words)
    if len(words) < _FEWEST_WORDS or 2 * small < len(words) or _OTHER_LETTER.search(part):
        return False
    guess = guess_language(part)
    return guess is not None and guess.is_foreign


def _offset_behind(text: str, end: int) -> int | None:
    """Return where the translation of a phrase may stand; None where its line ends."""
    means = _MEANS.match(text, end)
    if means is not None:
        return means.end()
    closing = _CLOSING.match(text, end)
    offset = end if closing is None else closing.end()
    following = text[offset:].partition("\n")[0]
    return offset if any(map(str.isalpha, following)) else None
