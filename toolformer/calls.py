"""Calls as token ids: e(c) and e(c, r) linearised in separately encoded pieces (spec §1.2)."""

from dataclasses import dataclass

from toolformer.forward.tokenization import Tokenizer
from tools.protocol import ToolCall
from tools.syntax import CALL_OPEN, call_pieces


@dataclass(frozen=True, slots=True)
class CallFormat:
    """A reading of the paper that changes what is fed when scoring (spec §1.6, `[D]`).

    Attributes:
        empty_result_keeps_arrow: e(c, ε) is `[Tool(args) ->]`, literally e(c, r) with an empty
            result; otherwise `[Tool(args)]`.
    """

    empty_result_keeps_arrow: bool = True


def call_ids(
    tokenizer: Tokenizer, call: ToolCall, result: str | None, *, call_format: CallFormat
) -> list[int]:
    """Tokens of e(c, r), or of e(c, ε) where `result` is None."""
    pieces = call_pieces(
        call, result, empty_result_keeps_arrow=call_format.empty_result_keeps_arrow
    )
    return tokenizer.encode_pieces(pieces)


def request_ids(tokenizer: Tokenizer, call: ToolCall) -> list[int]:
    """Tokens of e(c, r) up to its arrow: what a model writes itself, the rest is the tool's."""
    return tokenizer.encode_pieces(call_pieces(call, None)[:-1])


def call_open_ids(tokenizer: Tokenizer) -> list[int]:
    """The tokens `" ["` that open a call: one in byte-level vocabularies, more in others."""
    return tokenizer.encode(CALL_OPEN)


def cut_result(tokenizer: Tokenizer, result: str, *, max_tokens: int) -> str:
    """Cut a result to at most `max_tokens` tokens, at a word boundary (spec §1.9, item 9).

    A single word that is longer than the limit is cut between characters.
    """
    ids, offsets = tokenizer.encode_with_offsets(result)
    if len(ids) <= max_tokens:
        return result
    end = next((offset for offset in reversed(offsets[: max_tokens + 1]) if offset), 0)
    head = result[:end]
    if not result[end : end + 1].isspace() and " " in head:
        head = head[: head.rindex(" ")]
    return head.rstrip()
