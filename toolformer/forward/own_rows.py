"""Plain path: rows without a shared KV cache, fed as the model itself feeds them.

It serves recurrent models, whose state no attention mask can limit to a row's own past, and all
other models that `shared_rows` cannot feed. Each row continues from a copy of the model's cache:

    row 0:  . . k k k k | t        left padding for the keys of shorter rows, as in `generate`;
    row 1:  k k k k k k | t        recurrent states have no length

Only rows with the same number of new tokens form a batch: right padding would change states.
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
    """Cache of rows that were fed together; `cache` is None if the model cannot continue from it.

    `fed` is the number of cached tokens per row; the longest row has no padding. A shared cache
    must not change, because other rows also continue from it.
    """

    cache: Any = None
    fed: list[int] = field(default_factory=lambda: [0])
    is_shared: bool = False


class OwnRows(Rows):
    def __init__(self, model: Network, rows: int):
        super().__init__(model)
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        # For each row its cache, and the row's index in that cache.
        self._pasts = [(_Past(), 0) for _ in range(rows)]

    def length(self, row: int) -> int:
        return len(self._ids[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        groups: dict[Any, list[int]] = {}
        for row, (ids, new) in enumerate(zip(self._ids, tokens, strict=True)):
            ids += new
            groups.setdefault(self._group_key(row), []).append(row)
        last: dict[int, torch.Tensor] = {}
        for rows in groups.values():
            ends = [len(self._ids[row]) - self._fed(row) - 1 for row in rows]
            states, cache = self._states(rows)
            past = _Past(cache)
            if cache is not None:
                past.fed = [len(self._ids[row]) for row in rows]
            for index, (row, end) in enumerate(zip(rows, ends, strict=True)):
                last[row] = states[index, end]
                self._pasts[row] = past, index if cache is not None else 0
        return torch.stack([last[row] for row in range(len(last))])

    def _group_key(self, row: int) -> object:
        """Return a value that is equal for rows that can be fed as one batch."""
        model, fed = self._model, self._fed(row)
        # Without a cache, padding leaves nothing behind, so all rows form one batch.
        return model.can_copy_cache and (
            fed > 0 if model.can_pad_cache else fed,
            self.length(row) - fed,
        )

    def read(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """See `Rows.read`. The new cache may contain padding, so the tokens are fed again later."""
        for (past, _), ids, new in zip(self._pasts, self._ids, tokens, strict=True):
            past.is_shared = True
            ids += new
        states, _ = self._states(range(len(tokens)))
        ends = [len(ids) - self._fed(row) for row, ids in enumerate(self._ids)]
        return [
            of_row[:end][-len(new) :] for of_row, end, new in zip(states, ends, tokens, strict=True)
        ]

    def _fed(self, row: int) -> int:
        """Return the number of cached tokens of a row."""
        past, index = self._pasts[row]
        return past.fed[index]

    def _states(self, rows: Sequence[int]) -> tuple[torch.Tensor, Any]:
        """Return the states of the tokens not yet fed, right-padded, and the new cache."""
        check_length(self._model, max(len(self._ids[row]) for row in rows))
        device, counts = self._model.device, [self._fed(row) for row in rows]
        new = [torch.tensor(self._ids[row][fed:]) for row, fed in zip(rows, counts, strict=True)]
        ids, before = pad_sequence(new, batch_first=True).to(device), max(counts)
        arguments: dict[str, Any] = {}
        with torch.inference_mode():
            cache = self._cache_of(rows) if before else None
            if min(counts) < before:
                fed = torch.tensor(counts, device=device)[:, None]
                columns = torch.arange(before + ids.shape[1], device=device)
                arguments["attention_mask"] = (columns >= before - fed).long()
                arguments["position_ids"] = fed + columns[: ids.shape[1]]
            return self._model.own_states(ids, cache, **arguments)

    def _cache_of(self, rows: Sequence[int]) -> Any:
        """Return a cache of these rows that the model may change in place."""
        pasts = [self._pasts[row] for row in rows]
        first, _ = pasts[0]
        is_whole = all(past is first for past, _ in pasts)
        if is_whole and not first.is_shared and [*range(len(first.fed))] == [at for _, at in pasts]:
            return first.cache
        copies = []
        for _, group in groupby(pasts, key=lambda each: id(each[0])):
            (past, *_), indices = zip(*group, strict=True)
            copied = copy.copy(past.cache)
            copied.layers = [_copied_layer(layer) for layer in copied.layers]
            copied.reorder_cache(torch.tensor(indices, device=self._model.device))
            copies.append(copied)
        cache, longest = copies[0], max(map(self._fed, rows))
        cache.layers = [
            _joined_layer(layers, longest)
            for layers in zip(*(copied.layers for copied in copies), strict=True)
        ]
        return cache

    def forget(self, row: int, length: int) -> None:
        """See `Rows.forget`; if a cached token is forgotten, the whole row is fed again."""
        del self._ids[row][length:]
        if self._fed(row) > length:
            self._pasts[row] = _Past(), 0

    def fork(
        self, rows: Sequence[int], lengths: Sequence[int] | None = None, *, shares: bool = False
    ) -> Self:
        fork = type(self)(self._model, 0)
        ends = lengths or [self.length(row) for row in rows]
        fork._ids = [self._ids[row][:end] for row, end in zip(rows, ends, strict=True)]
        fork._pasts = [self._pasts[row] for row in rows]
        if shares and lengths is None:
            return fork
        for at, (past, index) in enumerate(fork._pasts):
            if past.fed[index] > ends[at]:
                fork._pasts[at] = _Past(), 0
            else:
                past.is_shared = True
        if len(rows) == 1 and len(fork._pasts[0][0].fed) > 1:
            # A single row may wait for long and would keep the caches of all others alive.
            with torch.inference_mode():
                fork._pasts = [(_Past(fork._cache_of([0]), [fork._fed(0)]), 0)]
        return fork

    def keep(self, rows: Sequence[int]) -> None:
        self._ids = [self._ids[row] for row in rows]
        self._pasts = [self._pasts[row] for row in rows]

    def join(self, others: "Sequence[Self]") -> Self:
        joined = type(self)(self._model, 0)
        for batch in (self, *others):
            joined._ids += batch._ids
            joined._pasts += batch._pasts
        return joined


def _copied_layer(layer: Any) -> Any:
    copied = copy.copy(layer)
    # Some layers hold their states in a dictionary, which a shallow copy would share.
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(copied, name, dict(value))
    return copied


def _joined_layer(layers: Sequence[Any], longest: int) -> Any:
    """Concatenate the rows of caches of one layer, left-padded to `longest`; change the first."""
    joined, *others = layers
    for name, value in vars(joined).items():
        states = [value, *(getattr(other, name) for other in others)]
        if isinstance(value, dict):
            setattr(joined, name, {key: _joined([each[key] for each in states]) for key in value})
        elif name in ("keys", "values") and value is not None:
            kept = [each[..., -longest:, :] for each in states]
            max_keys = max(each.shape[-2] for each in kept)
            padded = [pad(each, (0, 0, max_keys - each.shape[-2], 0)) for each in kept]
            setattr(joined, name, _joined(padded))
        else:
            setattr(joined, name, _joined(states))
    # A layer with sliding attention also counts the tokens whose keys it has dropped.
    if hasattr(joined, "cumulative_length"):
        joined.cumulative_length = longest
    return joined


def _joined(states: list[Any]) -> Any:
    # Anything but a tensor with rows is the same in all layers.
    if len(states) > 1 and isinstance(states[0], torch.Tensor) and states[0].dim():
        return torch.cat(states)
    return states[0]
