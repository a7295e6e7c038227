"""The context of a text: stands in front of it in training and is never annotated.

    What is two and two?       the context, closed by a line break
    Two and two is 4.          the text, with its calls

The two are tokenised apart, so the text has the tokens that were annotated.
"""

from toolformer.forward.tokenization import Tokenizer

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
    """The tokens of a context that stand in front of a row.

    Args:
        tokenizer: of the model that is trained.
        context: of the text.
        room: most of its tokens; of a longer one the beginning is cut off.
    """
    ids = tokenizer.encode(context + _END)
    return ids[max(len(ids) - room, 0) :]
