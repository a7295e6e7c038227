"""Whether a vocabulary can write calls, and gives back what is written with it."""

import unicodedata
from typing import TYPE_CHECKING

from toolformer.errors import ModelNotFoundError
from tools.protocol import ToolCall
from tools.syntax import CALL_OPEN, call_pieces

if TYPE_CHECKING:
    from toolformer.forward.tokenization import Tokenizer

_BEGINNING, _END = "The MILL", " ended."
# Both forms of an accented letter, behind the pieces of a call with a result.
_PARTS = (
    *call_pieces(ToolCall("Calculator", "(6 - 4) * 21"), "42"),
    *(" 1869, it", "\n", "\n\n", " \u00c9T\u00c9", " e\u0301te\u0301", " 橋", " 🌉", " [1]"),
)


def check_writes_calls(tokenizer: "Tokenizer") -> None:
    """Write letters, digits, brackets, line ends and a call behind a text, and read them back.

    A normaliser may compose letters or take them apart, and write compatible ones for others.

    Raises:
        ModelNotFoundError: another text comes back, or a call is not opened by one token, whose
            probability is p_i.
    """
    for parts in (*((part,) for part in _PARTS), _PARTS):
        pieces = (*parts, _END)
        text = "".join((_BEGINNING, *pieces))
        back = tokenizer.decode([*tokenizer.encode(_BEGINNING), *tokenizer.encode_pieces(pieces)])
        if unicodedata.normalize("NFKC", back) != unicodedata.normalize("NFKC", text):
            raise ModelNotFoundError(
                f"The model's vocabulary (tokenizer.json) gives {back!r} back for {text!r}. Calls "
                "are written into texts and read out of them, so the same text was expected. Use a "
                "model whose vocabulary keeps letters, accents, spaces, brackets and line ends."
            )
    opening = [tokenizer.token_text(token) for token in tokenizer.encode_behind(CALL_OPEN)]
    if len(opening) != 1:
        raise ModelNotFoundError(
            f"The model's vocabulary (tokenizer.json) writes {CALL_OPEN!r}, which opens a call, as "
            f"the tokens {', '.join(map(repr, opening))}. Expected one token. Use a model whose "
            f"vocabulary has {CALL_OPEN!r}, as those of GPT-2, Llama, Qwen and Gemma do."
        )
