"""The plain path: rows that share nothing, fed as the model itself feeds them.

For models whose layers keep states instead of keys, so that no mask can show a row its own past,
and for all others whose forward pass cannot be divided as `shared_rows` divides it. Rows go on
behind copies of the cache that the model made of what stands before them. This is the literal
method, in batches: rows of a batch have the same length, or are padded behind their tokens.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch.nn.utils.rnn import pad_sequence

from toolformer.forward.network import Network, check_length
from toolformer.forward.rows import Rows


@dataclass(slots=True)
class _Past:
    """What is fed of rows that are fed together.

    Attributes:
        cache: what the model made of it; None where it made nothing that serves.
        fed: how many tokens of each row the cache has seen.
        is_shared: whether others go on behind it too.
    """

    cache: Any = None
    fed: int = 0
    rows: int = 1
    is_shared: bool = False


class OwnRows(Rows):
    """Rows of which each has all its tokens for itself."""

    def __init__(self, model: Network, rows: int):
        super().__init__(model)
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        # Of each row what is fed of it, and its place there.
        self._pasts = [(_Past(), 0) for _ in range(rows)]

    def length(self, row: int) -> int:
        """See `Rows.length`."""
        return len(self._ids[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Rows.feed`; rows of the same past must get equally many tokens."""
        together: dict[int, list[int]] = {}
        for row, (past, _) in enumerate(self._pasts):
            together.setdefault(id(past), []).append(row)
        last: dict[int, torch.Tensor] = {}
        for rows in together.values():
            for row in rows:
                self._ids[row] += tokens[row]
            states, cache = self._states(rows)
            fed = 0 if cache is None else len(self._ids[rows[0]])
            past = _Past(cache, fed, len(rows))
            for place, row in enumerate(rows):
                self._pasts[row], last[row] = (past, place), states[place, -1]
        return torch.stack([last[row] for row in range(len(last))])

    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """See `Rows.read`; the rows go on behind what they began with, and are fed again.

        What the model keeps behind padding is of no use.
        """
        for ids, new in zip(self._ids, tokens, strict=True):
            ids += new
        past, _ = self._pasts[0]
        past.is_shared = True
        states, _ = self._states(range(len(tokens)))
        return [
            of_row[: len(ids) - past.fed][-len(new) :]
            for of_row, ids, new in zip(states, self._ids, tokens, strict=True)
        ]

    def _states(self, rows: Sequence[int]) -> tuple[torch.Tensor, Any]:
        """States behind what is not fed of rows with the same cache, and the model's new cache."""
        check_length(self._model, max(len(self._ids[row]) for row in rows))
        past, places = self._pasts[rows[0]][0], [self._pasts[row][1] for row in rows]
        cache, device = past.cache, self._model.device
        if cache is not None and (past.is_shared or places != list(range(past.rows))):
            cache = copy.copy(cache)
            cache.layers = [_copied_layer(layer) for layer in cache.layers]
            cache.reorder_cache(torch.tensor(places, device=device))
        ids = [torch.tensor(self._ids[row][past.fed :]) for row in rows]
        with torch.inference_mode():
            return self._model.own_states(pad_sequence(ids, batch_first=True).to(device), cache)

    def forget(self, row: int, length: int) -> None:
        """See `Rows.forget`; what is left is fed again, if any that was fed is forgotten."""
        del self._ids[row][length:]
        if self._pasts[row][0].fed > length:
            self._pasts[row] = _Past(), 0

    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        """See `Rows.fork`; rows that share a text are fed together once they have left it."""
        fork = type(self)(self._model, 0)
        ends = lengths or [self.length(row) for row in rows]
        fork._ids = [self._ids[row][:end] for row, end in zip(rows, ends, strict=True)]
        fork._pasts = [self._pasts[row] for row in rows]
        if shares and lengths is None:
            return fork
        for at, (past, place) in enumerate(fork._pasts):
            past.is_shared = True
            fork._pasts[at] = replace(past) if past.fed <= ends[at] else _Past(), place
        return fork

    def keep(self, rows: Sequence[int]) -> None:
        """See `Rows.keep`."""
        self._ids = [self._ids[row] for row in rows]
        self._pasts = [self._pasts[row] for row in rows]

    def join(self, others: "Sequence[Self]") -> Self:
        """See `Rows.join`."""
        joined = type(self)(self._model, 0)
        for part in (self, *others):
            joined._ids += part._ids
            joined._pasts += part._pasts
        return joined


def _copied_layer(layer: Any) -> Any:
    """A layer of a cache whose states can change without the other's."""
    copied = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(copied, name, dict(value))
    return copied
