"""The plain path: rows that share nothing, fed as the model itself feeds them.

For models whose layers keep states instead of keys, so that no mask can show a row its own past,
and for all others whose forward pass cannot be divided as `shared_rows` divides it. Rows go on
behind copies of the cache that the model made of what stands before them. This is the literal
method, in batches:

    row 0:  . . k k k k | t        keys of a shorter row are padded in front, as `generate` pads
    row 1:  k k k k k k | t        them; states have no length

Rows with equally many new tokens are fed together. Padding behind tokens would end up in states.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Self

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from toolformer.forward.network import Network, check_length
from toolformer.forward.rows import Rows


@dataclass(slots=True)
class _Past:
    """Cache of rows that were fed together.

    Attributes:
        cache: what the model made of them; None if it made nothing that serves.
        fed: number of tokens of each row that the cache has seen. The longest row has no padding.
        is_shared: whether others go on from it too, so that it must not change.
    """

    cache: Any = None
    fed: list[int] = field(default_factory=lambda: [0])
    is_shared: bool = False


class OwnRows(Rows):
    """Rows of which each has all its tokens for itself."""

    def __init__(self, model: Network, rows: int):
        super().__init__(model)
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        # For each row the cache that has seen it, and its place there.
        self._pasts = [(_Past(), 0) for _ in range(rows)]

    def length(self, row: int) -> int:
        """See `Rows.length`."""
        return len(self._ids[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Rows.feed`."""
        together: dict[Any, list[int]] = {}
        for row, (ids, new) in enumerate(zip(self._ids, tokens, strict=True)):
            ids += new
            together.setdefault(self._group(row), []).append(row)
        last: dict[int, torch.Tensor] = {}
        for rows in together.values():
            ends = [len(self._ids[row]) - self._fed(row) - 1 for row in rows]
            states, cache = self._states(rows)
            past = _Past(cache)
            if cache is not None:
                past.fed = [len(self._ids[row]) for row in rows]
            for place, (row, end) in enumerate(zip(rows, ends, strict=True)):
                last[row] = states[place, end]
                self._pasts[row] = past, place if cache is not None else 0
        return torch.stack([last[row] for row in range(len(last))])

    def _group(self, row: int) -> object:
        """Return what is equal for rows that can be fed together."""
        model, fed = self._model, self._fed(row)
        # Without a cache nothing is kept of padding.
        return model.can_copy_cache and (
            fed > 0 if model.can_pad_cache else fed,
            self.length(row) - fed,
        )

    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """See `Rows.read`; the rows stay where they were in the cache, and are fed again.

        What the model keeps of padding is of no use.
        """
        for (past, _), ids, new in zip(self._pasts, self._ids, tokens, strict=True):
            past.is_shared = True
            ids += new
        states, _ = self._states(range(len(tokens)))
        ends = [len(ids) - self._fed(row) for row, ids in enumerate(self._ids)]
        return [
            of_row[:end][-len(new) :] for of_row, end, new in zip(states, ends, tokens, strict=True)
        ]

    def _fed(self, row: int) -> int:
        """Return how many tokens of a row its cache has seen."""
        past, place = self._pasts[row]
        return past.fed[place]

    def _states(self, rows: Sequence[int]) -> tuple[torch.Tensor, Any]:
        """Return the states of what is not fed of rows, padded behind, and the new cache."""
        check_length(self._model, max(len(self._ids[row]) for row in rows))
        device, counts = self._model.device, [self._fed(row) for row in rows]
        new = [torch.tensor(self._ids[row][fed:]) for row, fed in zip(rows, counts, strict=True)]
        ids, before = pad_sequence(new, batch_first=True).to(device), max(counts)
        behind: dict[str, Any] = {}
        with torch.inference_mode():
            cache = self._cache_of(rows) if before else None
            if min(counts) < before:
                fed = torch.tensor(counts, device=device)[:, None]
                room = torch.arange(before + ids.shape[1], device=device)
                behind["attention_mask"] = (room >= before - fed).long()
                behind["position_ids"] = fed + room[: ids.shape[1]]
            return self._model.own_states(ids, cache, **behind)

    def _cache_of(self, rows: Sequence[int]) -> Any:
        """Return a cache of these rows that may change."""
        pasts = [self._pasts[row] for row in rows]
        first, _ = pasts[0]
        is_whole = all(past is first for past, _ in pasts)
        if is_whole and not first.is_shared and [*range(len(first.fed))] == [at for _, at in pasts]:
            return first.cache
        parts = []
        for _, group in groupby(pasts, key=lambda each: id(each[0])):
            (past, *_), places = zip(*group, strict=True)
            part = copy.copy(past.cache)
            part.layers = [_copied_layer(layer) for layer in part.layers]
            part.reorder_cache(torch.tensor(places, device=self._model.device))
            parts.append(part)
        cache, longest = parts[0], max(map(self._fed, rows))
        cache.layers = [
            _joined_layer(layers, longest)
            for layers in zip(*(part.layers for part in parts), strict=True)
        ]
        return cache

    def forget(self, row: int, length: int) -> None:
        """See `Rows.forget`; what is left is fed again, if any that was fed is forgotten."""
        del self._ids[row][length:]
        if self._fed(row) > length:
            self._pasts[row] = _Past(), 0

    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        """See `Rows.fork`."""
        fork = type(self)(self._model, 0)
        ends = lengths or [self.length(row) for row in rows]
        fork._ids = [self._ids[row][:end] for row, end in zip(rows, ends, strict=True)]
        fork._pasts = [self._pasts[row] for row in rows]
        if shares and lengths is None:
            return fork
        for at, (past, place) in enumerate(fork._pasts):
            if past.fed[place] > ends[at]:
                fork._pasts[at] = _Past(), 0
            else:
                past.is_shared = True
        if len(rows) == 1 and len(fork._pasts[0][0].fed) > 1:
            # One that waits for long would hold the caches of all the others.
            with torch.inference_mode():
                fork._pasts = [(_Past(fork._cache_of([0]), [fork._fed(0)]), 0)]
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


def _joined_layer(layers: Sequence[Any], longest: int) -> Any:
    """Return a layer of the rows of several, whose keys are padded in front.

    Args:
        layers: of the same layer of a model; the first is changed.
        longest: number of tokens of the longest row.
    """
    joined, *others = layers
    for name, value in vars(joined).items():
        states = [value, *(getattr(other, name) for other in others)]
        if isinstance(value, dict):
            setattr(joined, name, {key: _joined([each[key] for each in states]) for key in value})
        elif name in ("keys", "values") and value is not None:
            kept = [each[..., -longest:, :] for each in states]
            most = max(each.shape[-2] for each in kept)
            padded = [pad(each, (0, 0, most - each.shape[-2], 0)) for each in kept]
            setattr(joined, name, _joined(padded))
        else:
            setattr(joined, name, _joined(states))
    # A layer with a window counts the tokens whose keys it no longer has.
    if hasattr(joined, "cumulative_length"):
        joined.cumulative_length = longest
    return joined


def _joined(states: list[Any]) -> Any:
    """Return the rows of all, or the first of what is no tensor with rows."""
    if len(states) > 1 and isinstance(states[0], torch.Tensor) and states[0].dim():
        return torch.cat(states)
    return states[0]
