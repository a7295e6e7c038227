"""Rows of a model whose rows can go on side by side behind keys that they share.

A line of the cache holds a text, with the tokens of all rows that go on from it side by side. A
mask shows each row its own past:

    line:   prompt | text part | x_0 … x_{n-2} | tokens of its rows, feed by feed
    a row at position p sees |<-- x_{p-1} --->|  and its own tokens

Every feed appends one stretch of keys to all lines. What no row uses of it, or has forgotten, is
hidden: so nothing is cropped, and rows need not agree in length.

    step 1 (prompts)      step 2        step 3 (row 0 gets forced tokens)
    row 0:  0 1 2 3       4             5 6 7
    row 1:  0 1 . .       2             3 . .        numbers: positions; dots: never seen
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

# Hidden keys are thrown out once there are more of them than this, and than a quarter of the
# longest row.
_MAX_HIDDEN_KEYS = 64
# Lines without a row are still fed. They are dropped once they are this share of all lines, since
# the lines that move to their places are copied.
_MAX_IDLE_LINES = 1 / 8


class SharedRows(Rows):
    """Rows behind keys that can be shared."""

    def __init__(self, model: Network, rows: int):
        super().__init__(model)
        self._cache = _cache([])
        # Of the keys of each line; one line where they are the same in all.
        self._positions = torch.empty((1, 0), dtype=torch.long)
        # Of each row its line, which keys of it the row sees, and how many. Rows of the same line
        # follow each other.
        self._lines, self._line_count = torch.arange(rows), rows
        self._visible = torch.empty((rows, 0), dtype=torch.bool)
        self._lengths = torch.zeros(rows, dtype=torch.long)
        self._shares_lines = False

    @property
    def keys(self) -> int:
        """Keys held per line, hidden ones included."""
        return self._visible.shape[1]

    def length(self, row: int) -> int:
        """See `Rows.length`."""
        return int(self._lengths[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Rows.feed`."""
        hidden, _, ends = self._fed(tokens)
        last = hidden[self._lines.to(hidden.device), ends.to(hidden.device) - 1]
        # Lines of several rows are used up before long.
        longest = int(self._lengths.max())
        if not self._shares_lines and self.keys - longest > max(_MAX_HIDDEN_KEYS, longest // 4):
            self._throw_out_hidden()
        return last

    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """See `Rows.read`."""
        hidden, begins, ends = self._fed(tokens)
        stretches = zip(self._lines.tolist(), begins.tolist(), ends.tolist(), strict=True)
        return [hidden[line, begin:end] for line, begin, end in stretches]

    def _fed(
        self, tokens: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Append tokens; the states of all lines, and where each row's tokens begin and end."""
        counts = torch.tensor([len(each) for each in tokens])
        check_length(self._model, int((self._lengths + counts).max()))
        firsts = counts.cumsum(0) - counts
        # Tokens of a line's rows follow each other, in the cache as here.
        _, line, of_line = self._lines.unique_consecutive(return_inverse=True, return_counts=True)
        begins = firsts - firsts[of_line.cumsum(0) - of_line][line]
        ends = begins + counts
        before, shape = self.keys, (self._line_count, int(ends.max()))
        room = torch.arange(shape[1])
        row_of = torch.arange(len(counts)).repeat_interleave(counts)
        steps = torch.arange(len(row_of)) - firsts[row_of]
        of_token = self._lines[row_of], begins[row_of] + steps
        ids = torch.zeros(shape, dtype=torch.long)
        ids[of_token] = torch.tensor([*chain.from_iterable(tokens)])
        own = (room >= begins[:, None]) & (room < ends[:, None])
        if len(counts) == len(of_line) == shape[0] and self._visible.all():
            # One mask for all: tokens see all before them, and padding stands behind them.
            places = before + room[None]
            visible = torch.ones((1, shape[1], before + shape[1]), dtype=torch.bool).tril(before)
        else:
            places = torch.zeros(shape, dtype=torch.long)
            places[of_token] = self._lengths[row_of] + steps
            visible = torch.zeros((*shape, before + shape[1]), dtype=torch.bool)
            # Padding sees the first key only: a row of nothing would turn into NaN.
            visible[:, :, 0] = True
            visible[..., :before][of_token] = self._visible[row_of]
            visible[..., before:][of_token] = own[row_of] & (room <= of_token[1][:, None])
        positions = self._positions, places
        lines = max(map(len, positions))
        self._positions = torch.cat([each.expand(lines, -1) for each in positions], 1)
        self._visible = torch.cat([self._visible, own], 1)
        self._lengths = self._lengths + counts
        model = self._model
        with torch.inference_mode():
            hidden = model.hidden_states(
                ids.to(model.device),
                cache=self._cache,
                attention_mask=model.kinds.masks(visible, places, self._positions, model.model),
                # Some classes, such as OPT, would read positions from the mask, and not from this.
                position_ids=places.to(model.device),
            )
        return hidden, begins, ends

    def forget(self, row: int, length: int) -> None:
        """See `Rows.forget`."""
        self._visible[row] &= self._positions_of(self._lines[row : row + 1])[0] < length
        self._lengths[row] = length

    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        """See `Rows.fork`."""
        chosen = torch.tensor(rows)
        lines, visible, counts = self._lines[chosen], self._visible[chosen], self._lengths[chosen]
        keys = self.keys
        if lengths is not None:
            counts = torch.tensor(lengths)
            visible &= self._positions_of(lines) < counts[:, None]
            if not shares:
                # What stands behind the last key that is seen is not copied.
                keys = int(visible.any(0).nonzero().max()) + 1
        fork = type(self)(self._model, len(rows))
        fork._visible, fork._lengths = visible[:, :keys], counts
        if shares:
            fork._lines, fork._shares_lines = self._without_idle_lines(lines), True
            fork._line_count = self._line_count
            fork._positions, fork._cache = self._positions, self._cache
            return fork
        fork._positions = self._positions_of(lines)[:, :keys]
        # A single line is not copied before the first tokens are appended.
        on_device = lines.to(self._model.device)
        is_single = self._line_count == 1
        fork._cache = _changed(
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
        parts = [self, *others]
        width = max(part.keys for part in parts)
        self._visible, self._positions = (
            torch.cat([pad(each, (0, width - each.shape[1])) for each in of_parts])
            for of_parts in zip(
                *((part._visible, part._positions.expand(len(part._lines), -1)) for part in parts),
                strict=True,
            )
        )
        self._lengths = torch.cat([part._lengths for part in parts])
        self._line_count = len(self._lengths)
        self._lines = torch.arange(self._line_count)
        layers: Any = zip(*(part._cache.layers for part in parts), strict=True)
        with torch.inference_mode():
            for first, *behind in layers:
                first.append_rows(behind)
        return self

    def keep(self, rows: Sequence[int]) -> None:
        """See `Rows.keep`; rows must not share lines."""
        chosen = torch.tensor(rows)
        self._move_lines(chosen)
        self._visible, self._lengths = self._visible[chosen], self._lengths[chosen]
        self._lines = torch.arange(len(rows))

    def _without_idle_lines(self, lines: torch.Tensor) -> torch.Tensor:
        """Drop lines other than these, once they are many, and return where these are then."""
        used = lines.unique()
        if self._line_count - len(used) < _MAX_IDLE_LINES * self._line_count:
            return lines
        # The last ones move to the places of those that leave.
        order, new_lines = torch.arange(len(used)), torch.arange(self._line_count)
        places, moved = order[~torch.isin(order, used)], used[used >= len(used)]
        order[places], new_lines[moved] = moved, places
        self._move_lines(order)
        return new_lines[lines]

    def _move_lines(self, order: torch.Tensor) -> None:
        """Leave these lines, in this order; one that keeps its place is not copied."""
        places = (order != torch.arange(len(order))).nonzero()[:, 0]
        moved = [each.to(self._model.device) for each in (places, order[places])]
        self._positions, self._line_count = self._positions_of(order), len(order)
        layers: Any = self._cache.layers
        with torch.inference_mode():
            for layer in layers:
                layer.keep(len(order), *moved)

    def _positions_of(self, lines: torch.Tensor) -> torch.Tensor:
        return self._positions if len(self._positions) == 1 else self._positions[lines]

    def _throw_out_hidden(self) -> None:
        # Visible keys first, in their order; rows with fewer of them keep some hidden ones.
        order = (~self._visible).byte().argsort(dim=1, stable=True)[:, : int(self._lengths.max())]
        on_device = order.to(self._model.device)[:, None, :, None]
        self._positions = self._positions.expand(len(order), -1).gather(1, order)
        self._visible = self._visible.gather(1, order)
        self._cache = _changed(
            lambda states: states.gather(
                2, on_device.expand(-1, states.shape[1], -1, states.shape[3])
            ),
            self,
        )


def _changed(change: Callable[[torch.Tensor], torch.Tensor], rows: SharedRows) -> "Cache":
    """A cache of what `change` makes of the keys, and of the values, of each layer of the rows."""
    layers: Any = rows._cache.layers
    with torch.inference_mode():
        return _cache([(change(each.keys), change(each.values)) for each in layers])


def _cache(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> "Cache":
    from transformers import Cache

    from toolformer.forward.growing_layer import GrowingLayer

    cache = Cache(layer_class_to_replicate=GrowingLayer)
    cache.layers += map(GrowingLayer, layers)
    return cache
