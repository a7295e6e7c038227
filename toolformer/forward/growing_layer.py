"""KV cache layer that grows in place. Importing it loads torch and transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """KV cache layer with spare capacity; `DynamicLayer` copies all keys at every append.

    The initial keys and values have shape `(rows, key heads, keys, head size)`. They may be views
    of other tensors: the first change copies them into this layer's own buffers.
    """

    # Tensors; None until the first update.
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
        rows, old_length = len(key_states), self.get_seq_length()
        self._resize(rows, old_length + key_states.shape[2], like=(key_states, value_states))
        self.keys[:, :, old_length:], self.values[:, :, old_length:] = key_states, value_states
        return self.keys, self.values

    def keep(self, rows: int, targets: torch.Tensor, moved: torch.Tensor) -> None:
        """Copy row `moved[i]` to row `targets[i]` for each i, then keep the first `rows` rows."""
        self._resize(len(self.keys), self.get_seq_length(), like=(self.keys, self.values))
        for tensor in (self.keys, self.values) if len(targets) else ():
            tensor[targets] = tensor[moved]
        self.keys, self.values = self.keys[:rows], self.values[:rows]

    def append_rows(self, others: "Sequence[GrowingLayer]") -> None:
        """Append the rows of other layers; shorter rows are right-padded with zeros."""
        layers = [(self.keys, self.values), *((other.keys, other.values) for other in others)]
        num_keys = max(keys.shape[2] for keys, _ in layers)
        self._resize(sum(len(keys) for keys, _ in layers), num_keys, like=layers[0])
        end = 0
        for layer in layers:
            begin, end = end, end + len(layer[0])
            for own, other in zip((self.keys, self.values), layer, strict=True):
                if begin:
                    own[begin:end, :, : other.shape[2]] = other
                # The padding is masked, but a NaN in uninitialised memory would spread anyway.
                own[begin:end, :, other.shape[2] :] = 0

    def _resize(self, rows: int, num_keys: int, *, like: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Set the number of rows and keys; new entries are uninitialised."""
        buffers = self._buffers
        if not buffers or len(buffers[0]) < rows or buffers[0].shape[2] < num_keys:
            old_length = self.get_seq_length()
            # Rows that share a cache line append many keys at every step. Leave room for four more
            # steps of this size, up to half the current length.
            spare = max(num_keys // 8 + 32, min(4 * (num_keys - old_length), old_length // 2))
            shape = [rows, like[0].shape[1], num_keys + spare]
            old = (self.keys, self.values) if old_length else ()
            buffers = self._buffers = tuple(
                tensor.new_empty((*shape, tensor.shape[3])) for tensor in like
            )
            for buffer, tensor in zip(buffers, old, strict=False):
                buffer[: len(tensor), :, : tensor.shape[2]] = tensor
        self.keys, self.values = (buffer[:rows, :, :num_keys] for buffer in buffers)
