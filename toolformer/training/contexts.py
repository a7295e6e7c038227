"""The context of a text: stands in front of it in training and is never annotated.

    What is two and two?       the context, closed by a line break
    Two and two is 4.          the text, with its calls

The two are tokenised apart, so the text has the tokens that were annotated.
"""

from dataclasses import replace

from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window

_END = "\n"


def text_in_context(context: str | None, text: str) -> str:
    r"""The text with its context, as training sees them.

    Example:
        >>> text_in_context("What is two and two?", "Two and two is 4.")
        'What is two and two?\nTwo and two is 4.'
        >>> text_in_context(None, "Two and two is 4.")
        'Two and two is 4.'
    """
    return text if context is None else f"{context}{_END}{text}"


def context_ids(tokenizer: Tokenizer, context: str, *, room: int) -> list[int]:
    """At most `room` tokens of a context; of a longer one the beginning is cut off."""
    ids = tokenizer.encode(context + _END)
    return ids[max(len(ids) - room, 0) :]


def window_in_context(
    window: Window, context: str | None, tokenizer: Tokenizer, *, max_tokens: int
) -> Window:
    """A window behind its context, as in a training row without calls.

    No call can stand in the context. `start` moves with it, and may be negative: `start` and an
    offset still give a place in the document.

    Args:
        max_tokens: maximum length of a training row, the beginning-of-sequence token included.
    """
    if context is None:
        return window
    ids = context_ids(tokenizer, context, room=max_tokens - 1 - len(window.ids))
    in_front = context + _END
    if ids != tokenizer.encode(in_front):
        in_front = tokenizer.decode_behind(ids)
    behind = (None if offset is None else len(in_front) + offset for offset in window.offsets)
    return replace(
        window,
        start=window.start - len(in_front),
        text=in_front + window.text,
        ids=(*ids, *window.ids),
        offsets=(*[None] * len(ids), *behind),
    )
