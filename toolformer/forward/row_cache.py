"""Keys and values of texts that grow by different amounts, and can forget their last tokens.

    step 1 (prompts)      step 2        step 3 (row 0 gets forced tokens)
    row 0:  0 1 2 3       4             5 6 7
    row 1:  0 1 . .       2             3 . .        numbers: positions; dots: never seen

Every feed appends one stretch of keys to all rows; what a row does not use of it, or has forgotten,
is hidden by the mask. So nothing is cropped, and rows of one batch need not agree in length.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LogitsOfNext, next_tokens
from toolformer.forward.plain_rows import PlainRows

if TYPE_CHECKING:
    import torch

# Hidden keys are thrown out once there are more of them than this, and than visible ones.
_MAX_HIDDEN_KEYS = 64
_HIDDEN = -1


class RowCache:
    """The cache of a batch of texts, and which of its keys each text sees."""

    def __init__(self, model: Network, rows: int):
        import torch
        from transformers import DynamicCache

        self._model = model
        self._cache = DynamicCache()
        # positions[row, key]: place of the key's token in its text, or _HIDDEN.
        self._positions = torch.empty((rows, 0), dtype=torch.long)
        self._lengths = [0] * rows

    def length(self, row: int) -> int:
        """Tokens that the row sees."""
        return self._lengths[row]

    @property
    def keys(self) -> int:
        """Keys held per row, hidden ones included."""
        return self._positions.shape[1]

    def feed(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Append tokens to every row.

        Args:
            tokens: per row its next tokens, at least one.

        Returns:
            Logits behind each row's last token, float32, shape `(rows, vocabulary)`.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        rows, width = len(tokens), max(map(len, tokens))
        counts = torch.tensor([len(row) for row in tokens])
        slots = torch.arange(width)
        is_token = slots[None, :] < counts[:, None]
        lengths = torch.tensor(self._lengths)
        appended = torch.where(is_token, lengths[:, None] + slots[None, :], _HIDDEN)
        input_ids = pad_sequence([torch.tensor(row) for row in tokens], batch_first=True)

        # Padding to the right of a row's tokens sees these tokens: no query is left without a key.
        before = (self._positions != _HIDDEN)[:, None, :].expand(rows, width, self.keys)
        own = is_token[:, None, :] & (slots[None, :] <= slots[:, None])[None]
        visible = torch.cat([before, own], dim=2)
        self._positions = torch.cat([self._positions, appended], dim=1)
        queries = appended.clamp(min=0)
        device = self._model.device
        with torch.inference_mode():
            hidden = self._model.hidden_states(
                input_ids.to(device),
                cache=self._cache,
                attention_mask=self._model.masks(visible, queries, self._positions),
                position_ids=queries.to(device),
            )
            last = hidden[torch.arange(rows, device=device), (counts - 1).to(device)]
            logits = self._model.logits(last)
        self._lengths = [
            length + len(row) for length, row in zip(self._lengths, tokens, strict=True)
        ]
        if self.keys > 2 * max(self._lengths) + _MAX_HIDDEN_KEYS:
            self._throw_out_hidden()
        return logits

    def append(self, tokens: Sequence[Sequence[int]]) -> None:
        """See `Contexts.append`."""
        self.feed(tokens)

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[LogitsOfNext]:
        """See `Contexts.next_tokens`."""
        return next_tokens(self.feed(tokens), open_id=open_id, count=count)

    def copies(self, rows: int) -> "RowCache":
        """A cache in which each of so many rows is this one's only row.

        Args:
            rows: at least one.

        Raises:
            ValueError: there is not exactly one row here.
        """
        if len(self._lengths) != 1:
            raise ValueError(f"The cache has {len(self._lengths)} rows. Expected one to copy.")
        copied = RowCache(self._model, rows)
        if self._lengths[0]:
            copied._cache, copied._positions = self._cache, self._positions.repeat(rows, 1)
            copied._lengths = self._lengths * rows
            copied._replace(lambda states: states.expand(rows, -1, -1, -1))
        return copied

    def forget(self, row: int, length: int) -> None:
        """Hide all but the first `length` tokens of a row; the next token takes their place."""
        positions = self._positions[row]
        positions[positions >= length] = _HIDDEN
        self._lengths[row] = length

    def take(self, rows: Sequence[int]) -> "RowCache":
        """A cache of some of its rows, in the order given; its own stay as they are."""
        import torch

        taken = RowCache(self._model, 0)
        index = torch.tensor(list(rows), dtype=torch.long)
        taken._cache, taken._positions = self._cache, self._positions[index]
        taken._lengths = [self._lengths[row] for row in rows]
        on_device = index.to(self._model.device)
        taken._replace(lambda states: states[on_device])
        return taken

    def join(self, others: Sequence["RowCache"]) -> "RowCache":
        """See `Contexts.join`."""
        import torch
        from torch.nn.functional import pad
        from transformers import DynamicCache

        if not others:
            return self
        caches = [self, *others]
        for cache in caches:
            cache._throw_out_hidden()
        width = max(cache.keys for cache in caches)
        joined = RowCache(self._model, 0)
        joined._positions = torch.cat(
            [pad(cache._positions, (0, width - cache.keys), value=_HIDDEN) for cache in caches]
        )
        joined._lengths = [length for cache in caches for length in cache._lengths]

        def concatenated(states: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.cat([pad(state, (0, 0, 0, width - state.shape[2])) for state in states])

        layers: Any = zip(*(cache._cache.layers for cache in caches), strict=True)
        with torch.inference_mode():
            joined._cache = DynamicCache(
                [
                    (
                        concatenated([one.keys for one in layer_caches]),
                        concatenated([one.values for one in layer_caches]),
                    )
                    for layer_caches in layers
                ]
            )
        return joined

    def _throw_out_hidden(self) -> None:
        import torch

        # Visible keys first, in their order; rows with fewer of them keep some hidden ones.
        order = torch.argsort((self._positions == _HIDDEN).byte(), dim=1, stable=True)
        order = order[:, : max(self._lengths)]
        self._positions = self._positions.gather(1, order)
        on_device = order.to(self._model.device)[:, None, :, None]
        self._replace(
            lambda states: states.gather(
                2, on_device.expand(-1, states.shape[1], -1, states.shape[3])
            )
        )

    def _replace(self, change: Any) -> None:
        """Put `change(keys)` and `change(values)` in the place of each layer's own."""
        import torch
        from transformers import DynamicCache

        layers: list[Any] = list(self._cache.layers)
        with torch.inference_mode():
            self._cache = DynamicCache(
                [(change(layer.keys), change(layer.values)) for layer in layers]
            )


class PlainContexts(RowCache):
    """The same on the plain path: each text is fed by itself."""

    def __init__(self, model: Network, rows: int):
        self._model = model
        self._rows = [PlainRows(model) for _ in range(rows)]

    @property
    def keys(self) -> int:
        """See `RowCache.keys`."""
        return max(map(len, self._rows), default=0)

    def length(self, row: int) -> int:
        """Tokens that the row has."""
        return len(self._rows[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """See `RowCache.feed`."""
        import torch

        states = [row.feed([new])[0, -1] for row, new in zip(self._rows, tokens, strict=True)]
        with torch.inference_mode():
            return self._model.logits(torch.stack(states))

    def copies(self, rows: int) -> "PlainContexts":
        """See `RowCache.copies`."""
        return self._of([self._rows[0].copied() for _ in range(rows)])

    def forget(self, row: int, length: int) -> None:
        """See `RowCache.forget`."""
        self._rows[row].cut(length)

    def take(self, rows: Sequence[int]) -> "PlainContexts":
        """See `RowCache.take`; from then on a row belongs to what was fed last."""
        return self._of([self._rows[row] for row in rows])

    def join(self, others: Sequence[Any]) -> "PlainContexts":
        """See `RowCache.join`."""
        return self._of(list(chain.from_iterable(cache._rows for cache in (self, *others))))

    def _of(self, rows: list[PlainRows]) -> "PlainContexts":
        contexts = PlainContexts(self._model, 0)
        contexts._rows = rows
        return contexts
