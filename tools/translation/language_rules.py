"""Decides where translations may help: preselection (paper, appendix A) and proposals.

A text is selected if a paragraph has a chunk of ten tokens in another language, with English chunks
before and after it. The paper does not define tokens; here, white space separates them. A line is a
paragraph, as in CCNet. A chunk is English if English is its most likely language, even if unlikely.
Chunks without a letter are ignored.

Proposals are phrases in another script or language. A call follows its phrase or, if "means"
or similar words follow the phrase, precedes the word after them. A phrase in another language is
only found between punctuation, where its boundaries are certain.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import regex

from tools.protocol import Document, Preselection, Proposal
from tools.translation.languages import ENGLISH, guess_language

CHUNK_TOKENS = 10
_PART = re.compile(r"[^.!?…:;()\[\]\"“”„«»‹›‘—–|]+")
# Unlike in `re`, vowel signs, accents and joiners are part of a word in `regex`.
_WORD = regex.compile(r"\p{L}[\w'’-]*")
# Shorter phrases and lists of names are often mistaken for another language.
_MIN_WORDS = 5
_MIN_LETTERS = 3
# Maximum number of characters of a phrase.
LONGEST_PHRASE = 500
# Letters that are not Latin or extended Latin. A run of such letters is text in another script.
_OTHER_LETTER = regex.compile(r"(?![A-Za-z\u00aa-\u02ff\u1e00-\u1eff])\p{L}")
_OTHER_SCRIPT = regex.compile(
    rf"{_OTHER_LETTER.pattern}(?:\w|[\s,、。・'’-](?={_OTHER_LETTER.pattern}))*"
)
_CLOSING = re.compile(r"[.!?…]*[\"”»›’)]*")
_MEANS = re.compile(
    r"[^\n.!?]{0,40}?\b(?:means?|meaning|translate[sd]? (?:as|to)|(?:word|name|term) for|"
    r"English(?: for)?)\b[,:]? (?=[\w\"“‘(«])"
)


def preselect_by_language(document: Document) -> Preselection:
    """Select texts with a chunk in another language between English chunks.

    Example:
        >>> text = "The sign at the gate says this in large blue letters: Se ruega no dar de " + (
        ...     "comer a las palomas de la plaza, gracias. I read it twice and put my sandwich "
        ...     "back into the bag."
        ... )
        >>> preselect_by_language(Document("example", text)).reason
        'foreign_text_between_english'
    """
    reason = "no_long_paragraph"
    for paragraph in document.text.splitlines():
        chunks = _chunks(paragraph)
        # A chunk in another language needs a chunk before and a chunk after it.
        if len(chunks) < 3:
            continue
        guesses = [guess_language(chunk) for chunk in chunks[1:-1]]
        if not any(guess is not None and guess.is_foreign for guess in guesses):
            reason = "no_foreign_text_inside" if reason == "no_long_paragraph" else reason
            continue
        # The outer chunks are only identified now, since most paragraphs are English inside.
        guesses = [guess_language(chunks[0]), *guesses, guess_language(chunks[-1])]
        english = [n for n, guess in enumerate(guesses) if guess and guess.language == ENGLISH]
        inside = guesses[english[0] + 1 : english[-1]] if english else []
        if any(guess is not None and guess.is_foreign for guess in inside):
            return Preselection(is_selected=True, reason="foreign_text_between_english")
        reason = "no_english_around"
    return Preselection(is_selected=False, reason=reason)


def _chunks(paragraph: str) -> list[str]:
    """Return the chunks with a letter; none if the paragraph has less than three chunks."""
    words = paragraph.split()
    if len(words) <= 2 * CHUNK_TOKENS:
        return []
    chunks = (
        " ".join(words[start : start + CHUNK_TOKENS])
        for start in range(0, len(words), CHUNK_TOKENS)
    )
    return [chunk for chunk in chunks if any(map(str.isalpha, chunk))]


def propose_translations(text: str) -> list[Proposal]:
    """Propose calls after phrases, unless these end their line or another one follows.

    Example:
        >>> text = "The Russian word мир means peace, and world."
        >>> [proposal] = propose_translations(text)
        >>> text[proposal.offset :], proposal.arguments
        ('peace, and world.', 'мир')
    """
    proposals = {}
    for start, end in sorted([*_in_other_scripts(text), *_in_other_languages(text)]):
        phrase = " ".join(text[start:end].split())
        offset = _offset_after(text, end)
        if offset is not None and len(phrase) <= LONGEST_PHRASE:
            proposals.setdefault(offset, Proposal(offset, phrase))
    return [proposals[offset] for offset in sorted(proposals)]


def _in_other_scripts(text: str) -> Iterator[tuple[int, int]]:
    for match in _OTHER_SCRIPT.finditer(text):
        if sum(map(str.isalpha, match.group())) >= _MIN_LETTERS:
            yield match.span()


def _in_other_languages(text: str) -> Iterator[tuple[int, int]]:
    offset = 0
    for line in text.splitlines(keepends=True):
        parts = [
            (offset + match.start(), list(_WORD.finditer(match.group())))
            for match in _PART.finditer(line)
        ]
        parts = [(start, words) for start, words in parts if words]
        flags = [_is_foreign(words) for _, words in parts]
        for ((start, words), is_foreign), (_, continues) in pairwise(
            zip(parts, flags, strict=True)
        ):
            if is_foreign and not continues:
                yield start + words[0].start(), start + words[-1].end()
        offset += len(line)


def _is_foreign(words: Sequence[regex.Match[str]]) -> bool:
    part = words[0].string
    small = sum(word.group()[0].islower() for word in words)
    if len(words) < _MIN_WORDS or 2 * small < len(words) or _OTHER_LETTER.search(part):
        return False
    guess = guess_language(part)
    return guess is not None and guess.is_foreign


def _offset_after(text: str, end: int) -> int | None:
    """Return the offset of a call after a phrase; None if its line ends."""
    means = _MEANS.match(text, end)
    if means is not None:
        return means.end()
    closing = _CLOSING.match(text, end)
    offset = end if closing is None else closing.end()
    following = text[offset:].partition("\n")[0]
    return offset if any(map(str.isalpha, following)) else None
