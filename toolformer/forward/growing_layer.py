"""Keys and values of one layer that grow in place.

Imported only where a cache is made, since torch and transformers are loaded with it.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """A layer of a cache with room for further keys.

    Transformers' own copies all keys whenever some are appended, and when it is made.

    Args:
        states: keys and values, each of shape `(rows, key heads, keys, head size)`; they may be
            views, and stay as they are. By default there are none.
    """

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
        before = self.get_seq_length()
        count = before + key_states.shape[2]
        appended = key_states, value_states
        if not self._room or self._room[0].shape[2] < count:
            shape = [*key_states.shape[:2], count + count // 8 + 32]
            self._room = tuple(each.new_empty((*shape, each.shape[3])) for each in appended)
            held: Any = (self.keys, self.values) if before else ()
            for room, each in zip(self._room, held, strict=False):
                room[:, :, :before] = each
        for room, each in zip(self._room, appended, strict=True):
            room[:, :, before:count] = each
        self.keys, self.values = (room[:, :, :count] for room in self._room)
        return self.keys, self.values
