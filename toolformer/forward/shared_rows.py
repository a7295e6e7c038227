"""Rows that continue a text from one shared KV cache.

A line of the KV cache holds a text and the tokens of all rows that continue it. The attention mask
lets each row see only its own past:

    line:   prompt | text part | x_0 … x_{n-2} | tokens of its rows, feed by feed
    a row at position p sees |<-- x_{p-1} --->|  and its own tokens

Every feed appends the same number of keys to all lines. Padding and forgotten tokens are masked:

    step 1 (prompts)      step 2        step 3 (row 0 gets forced tokens)
    row 0:  0 1 2 3       4             5 6 7
    row 1:  0 1 . .       2             3 . .        numbers: position ids; dots: masked
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn.functional import pad

from toolformer.forward.network import Network, check_length
from toolformer.forward.rows import Rows

if TYPE_CHECKING:
    from transformers import Cache

# Masked keys are removed once their number exceeds both this and a quarter of the longest row.
_MAX_MASKED_KEYS = 64
# Lines without a row are still fed. Dropping them means copying other lines into the gaps, so they
# are dropped only once they make up this share of all lines.
_MAX_IDLE_LINES = 1 / 8


class SharedRows(Rows):
    def __init__(self, model: Network, rows: int):
        super().__init__(model)
        self._cache = _cache([])
        # Position ids of the keys per line; a single line if all lines have the same ones.
        self._positions = torch.empty((1, 0), dtype=torch.long)
        # For each row: its line, a mask of the keys that it sees there, and their number. Rows of
        # the same line are adjacent.
        self._lines, self._num_lines = torch.arange(rows), rows
        self._visible = torch.empty((rows, 0), dtype=torch.bool)
        self._lengths = torch.zeros(rows, dtype=torch.long)
        self._shares_lines = False

    @property
    def keys(self) -> int:
        """Number of keys per line, including masked ones."""
        return self._visible.shape[1]

    def length(self, row: int) -> int:
        return int(self._lengths[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        hidden, _, ends = self._append(tokens)
        last = hidden[self._lines.to(hidden.device), ends.to(hidden.device) - 1]
        # Shared lines are short-lived, so their masked keys stay.
        longest = int(self._lengths.max())
        if not self._shares_lines and self.keys - longest > max(_MAX_MASKED_KEYS, longest // 4):
            self._remove_masked_keys()
        return last

    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        hidden, begins, ends = self._append(tokens)
        spans = zip(self._lines.tolist(), begins.tolist(), ends.tolist(), strict=True)
        return [hidden[line, begin:end] for line, begin, end in spans]

    def _append(
        self, tokens: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Append tokens; return states of all lines, and where each row begins and ends there."""
        counts = torch.tensor([len(each) for each in tokens])
        check_length(self._model, int((self._lengths + counts).max()))
        firsts = counts.cumsum(0) - counts
        # The new tokens of a line's rows are adjacent in the KV cache, in the order of the rows.
        _, line, of_line = self._lines.unique_consecutive(return_inverse=True, return_counts=True)
        begins = firsts - firsts[of_line.cumsum(0) - of_line][line]
        ends = begins + counts
        before, shape = self.keys, (self._num_lines, int(ends.max()))
        columns = torch.arange(shape[1])
        row_of = torch.arange(len(counts)).repeat_interleave(counts)
        steps = torch.arange(len(row_of)) - firsts[row_of]
        of_token = self._lines[row_of], begins[row_of] + steps
        ids = torch.zeros(shape, dtype=torch.long)
        ids[of_token] = torch.tensor([*chain.from_iterable(tokens)])
        own = (columns >= begins[:, None]) & (columns < ends[:, None])
        if len(counts) == len(of_line) == shape[0] and self._visible.all():
            # One causal mask for all lines: only right padding differs, and no token sees it.
            new_positions = before + columns[None]
            visible = torch.ones((1, shape[1], before + shape[1]), dtype=torch.bool).tril(before)
        else:
            new_positions = torch.zeros(shape, dtype=torch.long)
            new_positions[of_token] = self._lengths[row_of] + steps
            visible = torch.zeros((*shape, before + shape[1]), dtype=torch.bool)
            # Padding sees only the first key; a query without any key would yield NaN.
            visible[:, :, 0] = True
            visible[..., :before][of_token] = self._visible[row_of]
            visible[..., before:][of_token] = own[row_of] & (columns <= of_token[1][:, None])
        positions = self._positions, new_positions
        lines = max(map(len, positions))
        self._positions = torch.cat([each.expand(lines, -1) for each in positions], 1)
        self._visible = torch.cat([self._visible, own], 1)
        self._lengths = self._lengths + counts
        model = self._model
        with torch.inference_mode():
            hidden = model.hidden_states(
                ids.to(model.device),
                cache=self._cache,
                attention_mask=model.kinds.masks(
                    visible, new_positions, self._positions, model.model
                ),
                # Some classes, such as OPT, ignore this and derive position ids from the mask.
                position_ids=new_positions.to(model.device),
            )
        return hidden, begins, ends

    def forget(self, row: int, length: int) -> None:
        self._visible[row] &= self._positions_of(self._lines[row : row + 1])[0] < length
        self._lengths[row] = length

    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        chosen = torch.tensor(rows)
        lines, visible, counts = self._lines[chosen], self._visible[chosen], self._lengths[chosen]
        keys = self.keys
        if lengths is not None:
            counts = torch.tensor(lengths)
            visible &= self._positions_of(lines) < counts[:, None]
            if not shares:
                # Keys after the last visible one are not copied.
                keys = int(visible.any(0).nonzero().max()) + 1
        fork = type(self)(self._model, len(rows))
        fork._visible, fork._lengths = visible[:, :keys], counts
        if shares:
            fork._lines, fork._shares_lines = self._without_idle_lines(lines), True
            fork._num_lines = self._num_lines
            fork._positions, fork._cache = self._positions, self._cache
            return fork
        fork._positions = self._positions_of(lines)[:, :keys]
        # A single line is expanded as a view, which is copied only when tokens are appended.
        on_device = lines.to(self._model.device)
        is_single = self._num_lines == 1
        fork._cache = _mapped_cache(
            lambda states: (
                states[:, :, :keys].expand(len(lines), -1, -1, -1)
                if is_single
                else states[:, :, :keys][on_device]
            ),
            self,
        )
        return fork

    def join(self, others: "Sequence[Self]") -> Self:
        """See `Rows.join`; rows must not share lines."""
        if not others:
            return self
        batches = [self, *others]
        width = max(batch.keys for batch in batches)
        self._visible, self._positions = (
            torch.cat([pad(each, (0, width - each.shape[1])) for each in tensors])
            for tensors in zip(
                *(
                    (each._visible, each._positions.expand(len(each._lines), -1))
                    for each in batches
                ),
                strict=True,
            )
        )
        self._lengths = torch.cat([batch._lengths for batch in batches])
        self._num_lines = len(self._lengths)
        self._lines = torch.arange(self._num_lines)
        layers: Any = zip(*(batch._cache.layers for batch in batches), strict=True)
        with torch.inference_mode():
            for first, *rest in layers:
                first.append_rows(rest)
        return self

    def keep(self, rows: Sequence[int]) -> None:
        """See `Rows.keep`; rows must not share lines."""
        chosen = torch.tensor(rows)
        self._move_lines(chosen)
        self._visible, self._lengths = self._visible[chosen], self._lengths[chosen]
        self._lines = torch.arange(len(rows))

    def _without_idle_lines(self, lines: torch.Tensor) -> torch.Tensor:
        """Drop all other lines if they are many; return the new indices of these lines."""
        used = lines.unique()
        if self._num_lines - len(used) < _MAX_IDLE_LINES * self._num_lines:
            return lines
        # The last used lines fill the gaps.
        order, new_lines = torch.arange(len(used)), torch.arange(self._num_lines)
        gaps, moved = order[~torch.isin(order, used)], used[used >= len(used)]
        order[gaps], new_lines[moved] = moved, gaps
        self._move_lines(order)
        return new_lines[lines]

    def _move_lines(self, order: torch.Tensor) -> None:
        """Keep only these lines, in this order. A line whose index stays the same is not copied."""
        targets = (order != torch.arange(len(order))).nonzero()[:, 0]
        moved = [each.to(self._model.device) for each in (targets, order[targets])]
        self._positions, self._num_lines = self._positions_of(order), len(order)
        layers: Any = self._cache.layers
        with torch.inference_mode():
            for layer in layers:
                layer.keep(len(order), *moved)

    def _positions_of(self, lines: torch.Tensor) -> torch.Tensor:
        return self._positions if len(self._positions) == 1 else self._positions[lines]

    def _remove_masked_keys(self) -> None:
        # Visible keys come first, in their order. Rows shorter than the longest keep masked keys.
        order = (~self._visible).byte().argsort(dim=1, stable=True)[:, : int(self._lengths.max())]
        on_device = order.to(self._model.device)[:, None, :, None]
        self._positions = self._positions.expand(len(order), -1).gather(1, order)
        self._visible = self._visible.gather(1, order)
        self._cache = _mapped_cache(
            lambda states: states.gather(
                2, on_device.expand(-1, states.shape[1], -1, states.shape[3])
            ),
            self,
        )


def _mapped_cache(function: Callable[[torch.Tensor], torch.Tensor], rows: SharedRows) -> "Cache":
    """Return a new KV cache with the function applied to the keys and values of each layer."""
    layers: Any = rows._cache.layers
    with torch.inference_mode():
        return _cache([(function(each.keys), function(each.values)) for each in layers])


def _cache(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> "Cache":
    from transformers import Cache

    from toolformer.forward.growing_layer import GrowingLayer

    cache = Cache(layer_class_to_replicate=GrowingLayer)
    cache.layers += map(GrowingLayer, layers)
    return cache
