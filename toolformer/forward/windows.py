"""Windows: parts of a text that fit prompt and context of the model; and the prompt's own parts."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolformer.forward.tokenization import Tokenizer

# A window boundary moves at most this share of a window to the left to find a space.
_BOUNDARY_SEARCH_SHARE = 0.25
# Characters tokenised at once while looking for boundaries, per token of a window. English text
# has about 4 characters a token; more than that costs only time, less costs only another turn.
_CHARACTERS_PER_TOKEN = 6

TEXT_SLOT = "{text}"

# Which window it is: its text, and its number there, from 0.
WindowKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a text.

    Attributes:
        start: character offset of the window in the text.
        ids: its tokens `x`, shape `(n,)`, without a beginning-of-sequence token.
        offsets: for each position the character offset within `text` at which a call would stand,
            None where the token begins inside a character.
    """

    document_id: str
    index: int
    start: int
    text: str
    ids: tuple[int, ...]
    offsets: tuple[int | None, ...]

    @property
    def key(self) -> WindowKey:
        """Which window it is, however it is cut off."""
        return self.document_id, self.index

    def up_to(self, end: int) -> "Window":
        """The window with its first `end` tokens alone, beside all of its characters."""
        return replace(self, ids=self.ids[:end], offsets=self.offsets[:end])


def split_into_windows(
    document_id: str, text: str, tokenizer: Tokenizer, *, window_tokens: int
) -> Iterator[Window]:
    """Cut a text into consecutive windows of at most `window_tokens` tokens.

    Windows tile the text: joined, they give it back. A boundary stands before a space where there
    is one near, so that the tokens of a window are those that the text has there; those behind the
    first stand behind other text. Memory does not grow with the length of the text.

    Args:
        text: the text; an empty one has no windows.
        window_tokens: most tokens of a window, at least 1.
    """
    start, known = 0, _NOTHING
    for index in itertools.count():
        if start >= len(text):
            return
        stretch = _next_stretch(text, start, known, tokenizer, window_tokens)
        own, known = _first_window(stretch, tokenizer, window_tokens, is_continuation=start > 0)
        yield Window(document_id, index, start, own.text, own.ids, own.offsets)
        start += len(own.text)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Part of a text, with its tokens and their offsets as a `Window` has them."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[int | None, ...]

    def divides(self, position: int) -> bool:
        """Return whether the text could be cut at a position without changing its tokens.

        It could if a token begins at the space after a word: tokenizers look no further.
        """
        at = self.offsets[position]
        return bool(at) and self.text[at] == " " and not self.text[at - 1].isspace()

    def part(self, first: int, last: int) -> "_Stretch":
        """Return the text between two positions at which it could be cut; 0 is the beginning."""
        begin, end = self.offsets[first] or 0, self.offsets[last]
        offsets = (
            None if offset is None else offset - begin for offset in self.offsets[first:last]
        )
        return _Stretch(self.text[begin:end], self.ids[first:last], tuple(offsets))


_NOTHING = _Stretch("", (), ())


def _encoded(
    text: str, tokenizer: Tokenizer, *, is_continuation: bool, known: _Stretch = _NOTHING
) -> _Stretch:
    """Return a text with its tokens; those of `known`, its beginning, are not taken again."""
    shift = len(known.text)
    ids, offsets = tokenizer.encode_with_offsets(
        text[shift:], is_continuation=is_continuation or shift > 0
    )
    moved = (None if offset is None else offset + shift for offset in offsets)
    return _Stretch(text, (*known.ids, *ids), (*known.offsets, *moved))


def _next_stretch(
    text: str, start: int, known: _Stretch, tokenizer: Tokenizer, window_tokens: int
) -> _Stretch:
    """Return more of a text than a window holds, or all that is left."""
    # Never cut the stretch to be tokenised inside the window that is looked for: one that holds
    # fewer tokens than needed is doubled.
    length = max(window_tokens * _CHARACTERS_PER_TOKEN, len(known.text))
    while True:
        part = text[start : start + length]
        stretch = _encoded(part, tokenizer, is_continuation=start > 0, known=known)
        if len(stretch.ids) > window_tokens or start + length >= len(text):
            return stretch
        length *= 2


def _first_window(
    stretch: _Stretch, tokenizer: Tokenizer, window_tokens: int, *, is_continuation: bool
) -> tuple[_Stretch, _Stretch]:
    """Return the first window of a stretch, and what is known of the text after it."""
    if len(stretch.ids) <= window_tokens:
        return stretch, _NOTHING
    limit = window_tokens
    while True:
        position = _boundary(stretch, limit)
        if position is not None and stretch.divides(position):
            last = position
            if is_continuation or tokenizer.encodes_continuations_alike:
                # The tokens at the end may change with the text that follows.
                places = range(len(stretch.ids) - 1, position, -1)
                last = next(filter(stretch.divides, places), position)
            return stretch.part(0, position), stretch.part(position, last)
        # At the least one character, so that cutting always moves on.
        end = 1 if position is None else stretch.offsets[position]
        own = _encoded(stretch.text[:end], tokenizer, is_continuation=is_continuation)
        # Cutting can split a token in two, so the count is taken again.
        if len(own.ids) <= window_tokens or limit == 1:
            return own, _NOTHING
        limit -= 1


def _boundary(stretch: _Stretch, limit: int) -> int | None:
    """Return the position at which the window ends: before a space when one is near.

    None if all of its tokens belong to the first character.
    """
    earliest = max(1, int(limit * (1 - _BOUNDARY_SEARCH_SHARE)))
    # Any token that begins a character would do.
    places = [
        (position, at) for position in range(limit, 0, -1) if (at := stretch.offsets[position])
    ]
    for position, at in places:
        if position >= earliest and stretch.text[at].isspace():
            return position
    return places[0][0] if places else None


@dataclass(frozen=True, slots=True)
class SplitPrompt:
    """A prompt cut at its slot.

    Attributes:
        prefix: what stands before the text, without the space at its end.
        before_text: that space. It belongs to the first word of the text, because vocabularies
            hold ` word` as one token.
    """

    prefix: str
    before_text: str
    after_text: str

    @classmethod
    def of(cls, prompt: str) -> "SplitPrompt":
        """Cut a prompt that holds the slot exactly once; `tools.prompting` checks that."""
        before, _, after = prompt.partition(TEXT_SLOT)
        prefix = before.rstrip(" ")
        return cls(prefix, before[len(prefix) :], after)

    def shared_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Tokens of the prefix, without a start token."""
        return tokenizer.encode(self.prefix)

    def text_part_ids(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """What is fed for one text between the shared prefix and the text's own tokens."""
        return tokenizer.encode_continuation(f"{self.before_text}{text}{self.after_text}")
