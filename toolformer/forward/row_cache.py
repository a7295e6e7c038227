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

from toolformer.forward.key_rows import HIDDEN, KeyRows
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LocalNextTokens, next_tokens
from toolformer.forward.plain_rows import PlainRows

if TYPE_CHECKING:
    import torch

# Hidden keys are thrown out once there are more of them than this, and than visible ones.
_MAX_HIDDEN_KEYS = 64


class RowCache:
    """The cache of a batch of texts, and which of its keys each text sees."""

    def __init__(self, model: Network, rows: int):
        import torch

        self._model = model
        self._rows = KeyRows(model, torch.empty((rows, 0), dtype=torch.long))
        self._lengths = [0] * rows

    def length(self, row: int) -> int:
        """Tokens that the row sees."""
        return self._lengths[row]

    @property
    def keys(self) -> int:
        """Keys held per row, hidden ones included."""
        return self._rows.count

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
        places = torch.where(is_token, lengths[:, None] + slots[None, :], HIDDEN)
        input_ids = pad_sequence([torch.tensor(row) for row in tokens], batch_first=True)

        # Padding to the right of a row's tokens sees these tokens: no query is left without a key.
        before = (self._rows.positions != HIDDEN)[:, None, :].expand(rows, width, self.keys)
        own = is_token[:, None, :] & (slots[None, :] <= slots[:, None])[None]
        hidden = self._rows.feed(input_ids, places, torch.cat([before, own], dim=2))
        device = self._model.device
        with torch.inference_mode():
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
    ) -> list[LocalNextTokens]:
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
        copied = self._rows.mapped(
            lambda states: states.expand(rows, -1, -1, -1), self._rows.positions.repeat(rows, 1)
        )
        return self._with(copied, self._lengths * rows)

    def forget(self, row: int, length: int) -> None:
        """Hide all but the first `length` tokens of a row; the next token takes their place."""
        positions = self._rows.positions[row]
        positions[positions >= length] = HIDDEN
        self._lengths[row] = length

    def take(self, rows: Sequence[int]) -> "RowCache":
        """A cache of some of its rows, in the order given; its own stay as they are."""
        import torch

        index = torch.tensor(list(rows), dtype=torch.long)
        on_device = index.to(self._model.device)
        taken = self._rows.mapped(lambda states: states[on_device], self._rows.positions[index])
        return self._with(taken, [self._lengths[row] for row in rows])

    def join(self, others: Sequence["RowCache"]) -> "RowCache":
        """See `Contexts.join`."""
        import torch
        from torch.nn.functional import pad

        if not others:
            return self
        caches = [self, *others]
        for cache in caches:
            cache._throw_out_hidden()
        width = max(cache.keys for cache in caches)
        positions = [
            pad(cache._rows.positions, (0, width - cache.keys), value=HIDDEN) for cache in caches
        ]
        joined = self._rows.mapped(
            lambda *states: torch.cat(
                [pad(each, (0, 0, 0, width - each.shape[2])) for each in states]
            ),
            torch.cat(positions),
            [cache._rows for cache in others],
        )
        return self._with(joined, [length for cache in caches for length in cache._lengths])

    def _with(self, rows: KeyRows, lengths: list[int]) -> "RowCache":
        cache = RowCache(self._model, 0)
        cache._rows, cache._lengths = rows, lengths
        return cache

    def _throw_out_hidden(self) -> None:
        import torch

        # Visible keys first, in their order; rows with fewer of them keep some hidden ones.
        positions = self._rows.positions
        order = torch.argsort((positions == HIDDEN).byte(), dim=1, stable=True)
        order = order[:, : max(self._lengths)]
        on_device = order.to(self._model.device)[:, None, :, None]
        self._rows = self._rows.mapped(
            lambda states: states.gather(
                2, on_device.expand(-1, states.shape[1], -1, states.shape[3])
            ),
            positions.gather(1, order),
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
