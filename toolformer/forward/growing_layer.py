"""Keys and values of one layer that grow in place, by keys and by rows.

Imported only where a cache is made, since torch and transformers are loaded with it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """A layer of a cache with room for further keys, and for further rows where some have left.

    Transformers' own copies all keys whenever some are appended, and when it is made.

    Args:
        states: keys and values, each of shape `(rows, key heads, keys, head size)`; they may be
            views, and stay as they are. By default there are none.
    """

    # Tensors but in a layer that was never fed.
    keys: Any
    values: Any

    def __init__(self, states: tuple[torch.Tensor, torch.Tensor] | None = None):
        super().__init__()
        self._room: tuple[torch.Tensor, ...] = ()
        if states is not None:
            self.lazy_initialization(*states)
            self.keys, self.values = states

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `DynamicLayer.update`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, before = len(key_states), self.get_seq_length()
        self._hold(rows, before + key_states.shape[2], like=(key_states, value_states))
        self.keys[:, :, before:], self.values[:, :, before:] = key_states, value_states
        return self.keys, self.values

    def keep(self, rows: int, places: torch.Tensor, moved: torch.Tensor) -> None:
        """Leave so many rows, some of them at other places than before; the others stay there."""
        self._hold(len(self.keys), self.get_seq_length(), like=(self.keys, self.values))
        for each in (self.keys, self.values) if len(places) else ():
            each[places] = each[moved]
        self.keys, self.values = self.keys[:rows], self.values[:rows]

    def append_rows(self, others: "Sequence[GrowingLayer]") -> None:
        """Put the rows of other layers behind these, all with as many keys as any of them has."""
        parts = [(self.keys, self.values), *((other.keys, other.values) for other in others)]
        count = max(keys.shape[2] for keys, _ in parts)
        self._hold(sum(len(keys) for keys, _ in parts), count, like=parts[0])
        end = 0
        for part in parts:
            begin, end = end, end + len(part[0])
            for held, each in zip((self.keys, self.values), part, strict=True):
                if begin:
                    held[begin:end, :, : each.shape[2]] = each
                # Nobody sees these, but what is no number would spread.
                held[begin:end, :, each.shape[2] :] = 0

    def _hold(self, rows: int, count: int, *, like: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Make these so many rows and keys; what is new of them is not set."""
        if not self._room or len(self._room[0]) < rows or self._room[0].shape[2] < count:
            before = self.get_seq_length()
            # Branches side by side append many keys at every step.
            further = max(count // 8 + 32, min(4 * (count - before), before // 2))
            shape = [rows, like[0].shape[1], count + further]
            held = (self.keys, self.values) if before else ()
            self._room = tuple(each.new_empty((*shape, each.shape[3])) for each in like)
            for room, each in zip(self._room, held, strict=False):
                room[: len(each), :, : each.shape[2]] = each
        self.keys, self.values = (room[:rows, :, :count] for room in self._room)
