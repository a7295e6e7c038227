"""KV cache layer that grows in place. Importing this module imports torch and transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """KV cache layer with spare capacity. `DynamicLayer` copies all keys with every append.

    The initial keys and values, shape `(rows, key heads, keys, head size)`, may be views.
    """

    # Tensors, or None before the first feed.
    keys: Any
    values: Any

    def __init__(self, states: tuple[torch.Tensor, torch.Tensor] | None = None):
        super().__init__()
        self._buffers: tuple[torch.Tensor, ...] = ()
        if states is not None:
            self.lazy_initialization(*states)
            self.keys, self.values = states

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, before = len(key_states), self.get_seq_length()
        self._resize(rows, before + key_states.shape[2], like=(key_states, value_states))
        self.keys[:, :, before:], self.values[:, :, before:] = key_states, value_states
        return self.keys, self.values

    def keep(self, rows: int, targets: torch.Tensor, moved: torch.Tensor) -> None:
        """Copy the rows `moved` to the indices `targets`, then keep the first `rows` rows."""
        self._resize(len(self.keys), self.get_seq_length(), like=(self.keys, self.values))
        for each in (self.keys, self.values) if len(targets) else ():
            each[targets] = each[moved]
        self.keys, self.values = self.keys[:rows], self.values[:rows]

    def append_rows(self, others: "Sequence[GrowingLayer]") -> None:
        """Append the rows of other layers; shorter rows are right-padded with zeros."""
        layers = [(self.keys, self.values), *((other.keys, other.values) for other in others)]
        num_keys = max(keys.shape[2] for keys, _ in layers)
        self._resize(sum(len(keys) for keys, _ in layers), num_keys, like=layers[0])
        end = 0
        for layer in layers:
            begin, end = end, end + len(layer[0])
            for held, each in zip((self.keys, self.values), layer, strict=True):
                if begin:
                    held[begin:end, :, : each.shape[2]] = each
                # The padding is masked, but a NaN in uninitialised memory would spread anyway.
                held[begin:end, :, each.shape[2] :] = 0

    def _resize(self, rows: int, num_keys: int, *, like: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Set the number of rows and keys; new entries are uninitialised."""
        buffers = self._buffers
        if not buffers or len(buffers[0]) < rows or buffers[0].shape[2] < num_keys:
            before = self.get_seq_length()
            # Branches that share a line append many keys at every step.
            spare = max(num_keys // 8 + 32, min(4 * (num_keys - before), before // 2))
            shape = [rows, like[0].shape[1], num_keys + spare]
            held = (self.keys, self.values) if before else ()
            buffers = self._buffers = tuple(
                each.new_empty((*shape, each.shape[3])) for each in like
            )
            for buffer, each in zip(buffers, held, strict=False):
                buffer[: len(each), :, : each.shape[2]] = each
        self.keys, self.values = (buffer[:rows, :, :num_keys] for buffer in buffers)
