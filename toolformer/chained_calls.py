"""Chained calls: a text that has a call is offered for further calls behind it.

    x[:p]  e(c, r)  x[p:]        what the model reads; further calls stand behind x[p]

In the paper each call is sampled in a text without others, so the result of one is never the
argument of the next; it names this first among its limitations (§7).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from toolformer.augmentation import KeptCall
from toolformer.calls import call_ids
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey
from tools.protocol import ToolCall


class FirstCalls:
    """Calls that stand in texts already, and how they move what is behind them.

    Everywhere but in front of the model, positions are those of the window without its first call.

    Args:
        calls: by window; others have none.
    """

    def __init__(self, calls: Mapping[WindowKey, KeptCall], tokenizer: Tokenizer):
        self._positions = {key: call.position for key, call in calls.items()}
        self._ids = {
            key: call_ids(tokenizer, ToolCall(call.tool, call.arguments), call.result)
            for key, call in calls.items()
        }

    def insert(self, windows: Iterable[Window]) -> Iterator[Window]:
        """The windows as the model reads them: with their first call, where they have one.

        Their characters stay those of the text. No further call can stand in front of the first
        one, within it, or at its place.
        """
        for window in windows:
            key = window.key
            if key not in self._ids:
                yield window
                continue
            ids, position = self._ids[key], self._positions[key]
            taken = position + len(ids) + 1
            yield replace(
                window,
                ids=(*window.ids[:position], *ids, *window.ids[position:]),
                offsets=(*[None] * taken, *window.offsets[position + 1 :]),
            )

    def position_for_model(self, window: WindowKey, position: int) -> int:
        """Where a token behind the first call stands in what the model reads."""
        return position + len(self._ids.get(window, ()))

    def position_in_text(self, window: WindowKey, position: int) -> int:
        """The reverse: where a token stands in the window without the call."""
        return position - len(self._ids.get(window, ()))
