"""Chained calls: a text that has a call is offered for further calls behind it.

    x[:p]  e(c, r)  x[p:]        what the model reads; further calls stand behind x[p]

In the paper each call is sampled in a text without others, so the result of one is never the
argument of the next; it names this first among its limitations (§7).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from toolformer.augmentation import KeptCall
from toolformer.calls import CallFormat, call_ids
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from tools.protocol import ToolCall

_Key = TypeVar("_Key")


def window_with_call(window: Window, call: KeptCall, tokenizer: Tokenizer) -> Window:
    """A window whose tokens hold a call with its result; its characters stay those of the text.

    No further call can stand in front of the first one, within it, or at its place.
    """
    ids, position = _ids(call, tokenizer), call.position
    taken = position + len(ids) + 1
    return replace(
        window,
        ids=(*window.ids[:position], *ids, *window.ids[position:]),
        offsets=(*[None] * taken, *window.offsets[position + 1 :]),
    )


def inserted_tokens(first_calls: Mapping[_Key, KeptCall], tokenizer: Tokenizer) -> dict[_Key, int]:
    """By window, how far a token behind its call is moved by it: see `window_with_call`."""
    return {key: len(_ids(call, tokenizer)) for key, call in first_calls.items()}


def _ids(call: KeptCall, tokenizer: Tokenizer) -> list[int]:
    tool_call = ToolCall(call.tool, call.arguments)
    return call_ids(tokenizer, tool_call, call.result, call_format=CallFormat())
