"""Inserts the first call of a text, so that further calls after it can use its result.

    x[:p]  e(c, r)  x[p:]        the model's input; further calls come after x[p]

The paper samples every call in a text without other calls, so no call can use another's result.
This is the first limitation that it lists (§7).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from toolformer.augmentation import KeptCall
from toolformer.calls import call_ids
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey
from tools.protocol import ToolCall


class FirstCalls:
    """The first call of each window, and the shift in token positions that it causes.

    Only the model's input contains the first calls. Everywhere else, positions refer to the window
    without its first call.
    """

    def __init__(self, calls: Mapping[WindowKey, KeptCall], tokenizer: Tokenizer):
        self._positions = {key: call.position for key, call in calls.items()}
        self._ids = {
            key: call_ids(tokenizer, ToolCall(call.tool, call.arguments), call.result)
            for key, call in calls.items()
        }

    def insert(self, windows: Iterable[Window]) -> Iterator[Window]:
        """Yield each window as input for the model, with its first call inserted.

        Character offsets still refer to the text without the call. They are None up to and
        including the first token after the call, so that no further call is placed there.
        """
        for window in windows:
            key = window.key
            if key not in self._ids:
                yield window
                continue
            ids, position = self._ids[key], self._positions[key]
            num_blocked = position + len(ids) + 1
            yield replace(
                window,
                ids=(*window.ids[:position], *ids, *window.ids[position:]),
                offsets=(*[None] * num_blocked, *window.offsets[position + 1 :]),
            )

    def position_for_model(self, window: WindowKey, position: int) -> int:
        """Return the position, in the model's input, of a token after the first call."""
        return position + len(self._ids.get(window, ()))

    def position_in_text(self, window: WindowKey, position: int) -> int:
        return position - len(self._ids.get(window, ()))
