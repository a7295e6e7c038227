"""The plain path: a row for each context with its continuation, fed as the model itself feeds it.

For models whose layers keep states instead of keys, so that no mask can show a branch its own past,
and for all others whose forward pass cannot be divided as `branch_keys` and `row_cache` divide it.
Nothing is shared among branches but copies of the cache that the model makes of what stands before
them. This is the literal method, in batches: rows of a batch have the same length, so no padding
stands in front of anything.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from toolformer.forward.network import Network


class PlainRows:
    """Rows of the same length that go on token by token.

    Args:
        ids: tokens of the only row at first, of which nothing is fed yet.
    """

    def __init__(self, model: "Network", ids: Sequence[int] = ()):
        self._model = model
        self._ids = [list(ids)]
        # How many tokens of each row the cache has seen.
        self._fed = 0
        self._cache: Any = None

    def __len__(self) -> int:
        """How many tokens each row has."""
        return len(self._ids[0])

    @property
    def cache_bytes(self) -> int:
        """Bytes of what the cache keeps of all rows; 0 without one."""
        return sum(
            state.nbytes
            for layer in (self._cache.layers if self._cache is not None else ())
            for value in vars(layer).values()
            for state in (value.values() if isinstance(value, dict) else (value,))
            if hasattr(state, "nbytes")
        )

    def copied(self, rows: Sequence[int] = (0,)) -> "PlainRows":
        """Some of the rows, each as often as it is named; these stay as they are."""
        import torch

        copied = PlainRows(self._model)
        copied._ids = [list(self._ids[row]) for row in rows]
        copied._fed = self._fed
        if self._cache is not None:
            copied._cache = copy.copy(self._cache)
            copied._cache.layers = [_copied_layer(layer) for layer in self._cache.layers]
            copied._cache.reorder_cache(torch.tensor(rows, device=self._model.device))
        return copied

    def cut(self, length: int) -> None:
        """Forget all but the first `length` tokens of each row; they are fed again at need."""
        self._ids = [row[:length] for row in self._ids]
        self._fed, self._cache = 0, None

    def feed(self, tokens: Sequence[Sequence[int]] = ()) -> "torch.Tensor":
        """Append tokens to the rows, and feed what is not fed yet.

        Args:
            tokens: next tokens of each row; the last ones may be padding of rows of other lengths,
                where nothing is fed behind them.

        Returns:
            States behind the appended tokens, or behind what was not fed yet, shape
            `(rows, tokens, hidden)`.
        """
        import torch

        appended = len(tokens[0]) if tokens else len(self) - self._fed
        for row, new in zip(self._ids, tokens, strict=False):
            row += new
        ids = torch.tensor([row[self._fed :] for row in self._ids], device=self._model.device)
        with torch.inference_mode():
            states, cache = self._model.own_states(ids, self._cache)
        if cache is not None:
            self._cache, self._fed = cache, len(self)
        return states[:, -appended:]


def _copied_layer(layer: Any) -> Any:
    """A layer of a cache whose states can change without the other's."""
    copied = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(copied, name, dict(value))
    return copied
