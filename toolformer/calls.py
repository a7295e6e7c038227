"""Encodes calls, e(c) and e(c, r), as tokens; each piece of a call is encoded separately."""

import regex

from toolformer.forward.tokenization import Tokenizer
from tools.protocol import ToolCall
from tools.syntax import CALL_OPEN, call_pieces

# `cut_result` keeps words and numbers whole, but it may cut longer strings, such as digests.
_MAX_WORD_CHARACTERS = 30
_CHARACTER = regex.compile(r"\X")
# A word in a script that separates words by spaces.
_WORD = regex.compile(
    r"[^\s\p{Script=Han}\p{Script=Hira}\p{Script=Kana}\p{Script=Tibt}\p{Script=Yiii}"
    r"\p{Line_Break=Complex_Context}]+"
)
# A number: digits of any script and the characters that join them, as in 1,234.50, 1 234, -3, 10^6,
# 2024-05-31, 12:30, 3/4, 5e-7. Chinese numerals count as digits, although Unicode classifies them
# as letters.
_DIGIT = r"\P{Numeric_Type=None}"
_NUMBER = regex.compile(
    rf"[+\-−]?{_DIGIT}+(?:(?:[.,:/^'’_·٫٬．，：×*\-–−]{{1,2}}|[eE][+\-−]?|\s(?=\d{{3}}(?!\d))){_DIGIT}+)*"
)
# Matches each number of a list without spaces, which `_NUMBER` matches as one overlong number.
_DIGITS = regex.compile(rf"{_DIGIT}+(?:\.{_DIGIT}+)?")


def call_ids(
    tokenizer: Tokenizer,
    call: ToolCall,
    result: str | None,
    *,
    empty_result_keeps_arrow: bool = True,
) -> list[int]:
    """Return the tokens of e(c, r), or of e(c, ε) if `result` is None; see `call_pieces`."""
    return tokenizer.encode_pieces(
        call_pieces(call, result, empty_result_keeps_arrow=empty_result_keeps_arrow)
    )


def request_ids(tokenizer: Tokenizer, call: ToolCall) -> list[int]:
    """Return the tokens of e(c, r) up to the arrow, which a model writes itself."""
    return tokenizer.encode_pieces(call_pieces(call, None)[:-1])


def name_ids(tokenizer: Tokenizer, call: ToolCall) -> list[int]:
    """Return the tokens of `Tool(`, which follow ` [` in e(c)."""
    return tokenizer.encode_pieces(call_pieces(call, None)[:2])[1:]


def call_open_id(tokenizer: Tokenizer) -> int:
    """Return the id of ` [`; `check_writes_calls` rejects vocabularies without this token."""
    (open_id,) = tokenizer.encode_continuation(CALL_OPEN)
    return open_id


def cut_result(tokenizer: Tokenizer, result: str, *, max_tokens: int) -> str:
    """Cut a result to at most `max_tokens` tokens, between words; return "" if no word fits.

    Words of more than 30 characters, such as digests, and scripts without spaces may be cut between
    characters. Numbers of up to 30 characters are never cut.
    """
    ids, offsets = tokenizer.encode_with_offsets(result)
    if len(ids) <= max_tokens:
        return result
    ends = [end for end in reversed(offsets[: max_tokens + 1]) if end]
    forbidden = _inner_offsets(_NUMBER, result) | _inner_offsets(_DIGITS, result)
    forbidden |= _inner_offsets(_CHARACTER, result, max_characters=len(result))
    inside_words = _inner_offsets(_WORD, result)
    allowed = [end for end in ends if end not in forbidden]
    end = next((end for end in allowed if end not in inside_words), max(allowed, default=0))
    return result[:end].rstrip()


def _inner_offsets(
    pattern: regex.Pattern[str], text: str, max_characters: int = _MAX_WORD_CHARACTERS
) -> set[int]:
    return {
        offset
        for start, end in (match.span() for match in pattern.finditer(text))
        if end - start <= max_characters
        for offset in range(start + 1, end)
    }
