"""Splits texts into windows that fit the model's context, and prompts at their slot."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolformer.forward.tokenization import Tokenizer

# A window boundary moves left by at most this share of a window to find a space.
_BOUNDARY_SEARCH_SHARE = 0.25
# Number of characters per window token that are tokenised at once to find a boundary. English text
# has about 4 characters per token. More characters cost only time; fewer, another iteration.
_CHARACTERS_PER_TOKEN = 6

TEXT_SLOT = "{text}"

# Key of a window: document id and index of the window in its document, from 0.
WindowKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Window of a text; `start` is its character offset there.

    `ids` are the tokens `x`, without a start token. `offsets` are the character offsets in `text`
    at which a call before each token would be inserted; None inside a character.
    """

    document_id: str
    index: int
    start: int
    text: str
    ids: tuple[int, ...]
    offsets: tuple[int | None, ...]

    @property
    def key(self) -> WindowKey:
        return self.document_id, self.index

    def up_to(self, end: int) -> "Window":
        """Return the window with only its first `end` tokens, but with its whole text."""
        return replace(self, ids=self.ids[:end], offsets=self.offsets[:end])


def split_into_windows(
    document_id: str, text: str, tokenizer: Tokenizer, *, window_tokens: int
) -> Iterator[Window]:
    """Split a text into consecutive windows of at most `window_tokens` tokens.

    If possible, a window ends before a space, so that its tokens are the same as in the whole text.
    Windows after the first are encoded as continuations. Memory does not grow with the text.
    """
    start, known = 0, _NOTHING
    for index in itertools.count():
        if start >= len(text):
            return
        span = _next_span(text, start, known, tokenizer, window_tokens)
        own, known = _first_window(span, tokenizer, window_tokens, is_continuation=start > 0)
        yield Window(document_id, index, start, own.text, own.ids, own.offsets)
        start += len(own.text)


@dataclass(frozen=True, slots=True)
class _Span:
    """Span of a text with its tokens and their offsets, as in `Window`."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[int | None, ...]

    def can_split_at(self, position: int) -> bool:
        """Return whether splitting at a token keeps all tokens, as at the space after a word."""
        at = self.offsets[position]
        return bool(at) and self.text[at] == " " and not self.text[at - 1].isspace()

    def slice(self, first: int, last: int) -> "_Span":
        begin, end = self.offsets[first] or 0, self.offsets[last]
        offsets = (
            None if offset is None else offset - begin for offset in self.offsets[first:last]
        )
        return _Span(self.text[begin:end], self.ids[first:last], tuple(offsets))


_NOTHING = _Span("", (), ())


def _encode(
    text: str, tokenizer: Tokenizer, *, is_continuation: bool, known: _Span = _NOTHING
) -> _Span:
    """Encode a text; its beginning `known` is not encoded again."""
    shift = len(known.text)
    ids, offsets = tokenizer.encode_with_offsets(
        text[shift:], is_continuation=is_continuation or shift > 0
    )
    shifted = (None if offset is None else offset + shift for offset in offsets)
    return _Span(text, (*known.ids, *ids), (*known.offsets, *shifted))


def _next_span(
    text: str, start: int, known: _Span, tokenizer: Tokenizer, window_tokens: int
) -> _Span:
    """Return a span with more tokens than a window, or the rest of the text."""
    # Never cut the span inside the window to be found: double it while it has too few tokens.
    length = max(window_tokens * _CHARACTERS_PER_TOKEN, len(known.text))
    while True:
        span = _encode(
            text[start : start + length], tokenizer, is_continuation=start > 0, known=known
        )
        if len(span.ids) > window_tokens or start + length >= len(text):
            return span
        length *= 2


def _first_window(
    span: _Span, tokenizer: Tokenizer, window_tokens: int, *, is_continuation: bool
) -> tuple[_Span, _Span]:
    """Return the first window of a span, and the encoded text after it that stays valid."""
    if len(span.ids) <= window_tokens:
        return span, _NOTHING
    limit = window_tokens
    while True:
        position = _boundary(span, limit)
        if position is not None and span.can_split_at(position):
            last = position
            if is_continuation or tokenizer.encodes_continuations_alike:
                # The last tokens may still change with the text that follows the span.
                candidates = range(len(span.ids) - 1, position, -1)
                last = next(filter(span.can_split_at, candidates), position)
            return span.slice(0, position), span.slice(position, last)
        # At least one character, so that every iteration advances.
        end = 1 if position is None else span.offsets[position]
        own = _encode(span.text[:end], tokenizer, is_continuation=is_continuation)
        # Cutting can split a token in two, so count the tokens again.
        if len(own.ids) <= window_tokens or limit == 1:
            return own, _NOTHING
        limit -= 1


def _boundary(span: _Span, limit: int) -> int | None:
    """Return where the window ends, before a space if one is near; None if inside a character."""
    earliest = max(1, int(limit * (1 - _BOUNDARY_SEARCH_SHARE)))
    # Without a space, any token that begins a character will do.
    candidates = [
        (position, at) for position in range(limit, 0, -1) if (at := span.offsets[position])
    ]
    for position, at in candidates:
        if position >= earliest and span.text[at].isspace():
            return position
    return candidates[0][0] if candidates else None


@dataclass(frozen=True, slots=True)
class SplitPrompt:
    """Prompt split at its slot.

    `before_text` are the spaces before the slot. They are encoded with the first word of the text,
    because vocabularies contain ` word` as one token.
    """

    prefix: str
    before_text: str
    after_text: str

    @classmethod
    def of(cls, prompt: str) -> "SplitPrompt":
        """Split a prompt that contains the slot exactly once, as `tools.prompting` checks."""
        before, _, after = prompt.partition(TEXT_SLOT)
        prefix = before.rstrip(" ")
        return cls(prefix, before[len(prefix) :], after)

    def shared_ids(self, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode(self.prefix)

    def text_part_ids(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """Return the tokens between the shared prefix and the text's own tokens."""
        return tokenizer.encode_continuation(f"{self.before_text}{text}{self.after_text}")
