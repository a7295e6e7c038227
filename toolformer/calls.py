"""Calls as token ids: e(c) and e(c, r) linearised in separately encoded pieces."""

import regex

from toolformer.forward.tokenization import Tokenizer
from tools.protocol import ToolCall
from tools.syntax import CALL_OPEN, call_pieces

# In characters; what is longer is no word that a person reads, and no number.
_LONGEST_WORD = 30
_CHARACTER = regex.compile(r"\X")
# Whatever stands between blanks, in scripts that have them.
_WORD = regex.compile(
    r"[^\s\p{Script=Han}\p{Script=Hira}\p{Script=Kana}\p{Script=Tibt}\p{Script=Yiii}"
    r"\p{Line_Break=Complex_Context}]+"
)
# Digits of any script with what joins them: 1,234.50, 1 234, -3, 10^6, 2024-05-31, 12:30, 3/4,
# 5e-7, and Chinese numerals, which are letters to Unicode's categories.
_DIGIT = r"\P{Numeric_Type=None}"
_NUMBER = regex.compile(
    rf"[+\-−]?{_DIGIT}+(?:(?:[.,:/^'’_·٫٬．，：×*\-–−]{{1,2}}|[eE][+\-−]?|\s(?=\d{{3}}(?!\d))){_DIGIT}+)*"
)
# For numbers in a row without blanks, which look like one that is too long.
_DIGITS = regex.compile(rf"{_DIGIT}+(?:\.{_DIGIT}+)?")


def call_ids(
    tokenizer: Tokenizer,
    call: ToolCall,
    result: str | None,
    *,
    empty_result_keeps_arrow: bool = True,
) -> list[int]:
    """Tokens of e(c, r), or of e(c, ε) where `result` is None; see `call_pieces`."""
    return tokenizer.encode_pieces(
        call_pieces(call, result, empty_result_keeps_arrow=empty_result_keeps_arrow)
    )


def request_ids(tokenizer: Tokenizer, call: ToolCall) -> list[int]:
    """Tokens of e(c, r) up to its arrow: what a model writes itself, the rest is the tool's."""
    return tokenizer.encode_pieces(call_pieces(call, None)[:-1])


def name_ids(tokenizer: Tokenizer, call: ToolCall) -> list[int]:
    """Tokens of e(c) that name its tool, parenthesis included, behind the opening one."""
    return tokenizer.encode_pieces(call_pieces(call, None)[:2])[1:]


def call_open_id(tokenizer: Tokenizer) -> int:
    """The token `" ["` that opens a call; `check_writes_calls` refuses vocabularies without it."""
    (open_id,) = tokenizer.encode_continuation(CALL_OPEN)
    return open_id


def cut_result(tokenizer: Tokenizer, result: str, *, max_tokens: int) -> str:
    """Cut a result to at most `max_tokens` tokens, between words.

    A word or number of more than 30 characters, such as a digest, and scripts that have no blanks
    are cut between characters; a shorter number is never cut. Empty where not even the first
    number or character fits.
    """
    ids, offsets = tokenizer.encode_with_offsets(result)
    if len(ids) <= max_tokens:
        return result
    ends = [end for end in reversed(offsets[: max_tokens + 1]) if end]
    inside = _inside(_NUMBER, result) | _inside(_DIGITS, result)
    inside |= _inside(_CHARACTER, result, longest=len(result))
    inside_words = _inside(_WORD, result)
    between = [end for end in ends if end not in inside]
    end = next((end for end in between if end not in inside_words), max(between, default=0))
    return result[:end].rstrip()


def _inside(pattern: regex.Pattern[str], text: str, longest: int = _LONGEST_WORD) -> set[int]:
    """The offsets inside of matches that have at most so many characters."""
    return {
        offset
        for start, end in (match.span() for match in pattern.finditer(text))
        if end - start <= longest
        for offset in range(start + 1, end)
    }
