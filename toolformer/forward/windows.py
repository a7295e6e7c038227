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
    start = 0
    for index in itertools.count():
        if start >= len(text):
            return
        window = _first_window(document_id, text, start, index, tokenizer, window_tokens)
        yield window
        start += len(window.text)


def _first_window(
    document_id: str, text: str, start: int, index: int, tokenizer: Tokenizer, window_tokens: int
) -> Window:
    is_behind = start > 0
    # Never cut the stretch to be tokenised inside the window that is looked for: one that holds
    # fewer tokens than needed is doubled.
    stretch_length = max(window_tokens, 1) * _CHARACTERS_PER_TOKEN
    while True:
        stretch = text[start : start + stretch_length]
        ids, offsets = tokenizer.encode_with_offsets(stretch, is_behind=is_behind)
        if len(ids) > window_tokens or start + stretch_length >= len(text):
            break
        stretch_length *= 2
    limit = window_tokens
    while True:
        end = len(stretch) if len(ids) <= limit else _boundary(stretch, offsets, limit)
        own_ids, own_offsets = tokenizer.encode_with_offsets(stretch[:end], is_behind=is_behind)
        # Cutting can split a token in two, so the count is taken again.
        if len(own_ids) <= window_tokens or limit == 1:
            return Window(
                document_id, index, start, stretch[:end], tuple(own_ids), tuple(own_offsets)
            )
        limit -= 1


def _boundary(stretch: str, offsets: list[int | None], limit: int) -> int:
    """Character offset at which the window ends: before a space when one is near."""
    earliest = max(1, int(limit * (1 - _BOUNDARY_SEARCH_SHARE)))
    places = [offsets[boundary] for boundary in range(limit, 0, -1)]
    for boundary in places[: limit - earliest + 1]:
        if boundary and stretch[boundary].isspace():
            return boundary
    # No space near: any token that begins a character, and at the least one character, so that
    # cutting always moves on.
    return next((boundary for boundary in places if boundary), 1)


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
        return tokenizer.encode_behind(f"{self.before_text}{text}{self.after_text}")
