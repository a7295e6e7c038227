"""Keys and values of a batch of rows: what branches, growing texts and continuations stand behind.

    row 0:  0 1 2 3   4 . .        numbers: positions of the tokens; dots: padding
    row 1:  0 1 . .   2 3 4

Every feed appends one stretch of keys to all rows. Who feeds says which keys a token sees, so
nothing is cropped, and rows need not agree in length.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from toolformer.forward.network import Network

if TYPE_CHECKING:
    import torch

# The position of keys that nothing sees.
HIDDEN = -1


class KeyRows:
    """Keys and values of rows, in all layers of a model.

    Args:
        positions: of each key's token in its row, int, shape `(rows or 1, keys)`; those of keys
            that nothing sees may be `HIDDEN`. By default there are no keys.
        layers: per layer keys and values, each of shape `(rows, key heads, keys, head size)`.

    Attributes:
        positions: as given, and those of the tokens that were fed.
    """

    def __init__(
        self,
        model: Network,
        positions: "torch.Tensor | None" = None,
        layers: "Sequence[tuple[torch.Tensor, torch.Tensor]]" = (),
    ):
        import torch
        from transformers import Cache

        from toolformer.forward.growing_layer import GrowingLayer

        self.model = model
        self.positions = torch.empty((1, 0), dtype=torch.long) if positions is None else positions
        self._cache = (
            Cache(layers=[GrowingLayer(layer) for layer in layers])
            if layers
            else Cache(layer_class_to_replicate=GrowingLayer)
        )

    @property
    def count(self) -> int:
        """Keys of a row, hidden ones included."""
        return self.positions.shape[1]

    @property
    def layers(self) -> "list[tuple[torch.Tensor, torch.Tensor]]":
        """Per layer keys and values."""
        layers: list[Any] = list(self._cache.layers)
        return [(layer.keys, layer.values) for layer in layers]

    def feed(
        self, ids: "torch.Tensor", places: "torch.Tensor", visible: "torch.Tensor"
    ) -> "torch.Tensor":
        """Append tokens to all rows.

        Args:
            ids: int, shape `(rows, tokens)`.
            places: their positions, shape `(rows or 1, tokens)`; `HIDDEN` for padding.
            visible: which keys each token sees, these tokens' own behind those before, bool, shape
                `(rows or 1, tokens, keys)`; at least one for each, or a row turns into NaN.

        Returns:
            Hidden states behind the tokens, shape `(rows, tokens, hidden)`.
        """
        import torch

        # Rows that all stand at the same positions share one line of them, and one mask.
        lines = max(len(self.positions), len(places))
        self.positions = torch.cat([each.expand(lines, -1) for each in (self.positions, places)], 1)
        queries, model = places.clamp(min=0), self.model
        with torch.inference_mode():
            return model.hidden_states(
                ids.to(model.device),
                cache=self._cache,
                attention_mask=model.masks(visible, queries, self.positions),
                # Some classes, such as OPT, would read positions from the mask, and not from this.
                position_ids=queries.to(model.device),
            )

    def append(self, ids: "torch.Tensor") -> "torch.Tensor":
        """Append tokens that see all keys before them, where no key is padding; see `feed`."""
        import torch

        places = self.count + torch.arange(ids.shape[1])[None]
        visible = torch.ones((1, ids.shape[1], self.count + ids.shape[1]), dtype=torch.bool)
        return self.feed(ids, places, visible.tril(diagonal=self.count))

    def mapped(
        self,
        change: "Callable[..., torch.Tensor]",
        positions: "torch.Tensor",
        others: Sequence[Self] = (),
    ) -> Self:
        """Rows of what `change` makes of the keys, and of the values, of each layer.

        Args:
            change: from the states of these rows, and those of each of the others.
            positions: of the changed keys.
        """
        import torch

        of_layers = zip(*(rows.layers for rows in (self, *others)), strict=True)
        with torch.inference_mode():
            layers = [
                (change(*keys), change(*values))
                for keys, values in (zip(*layer, strict=True) for layer in of_layers)
            ]
        return type(self)(self.model, positions, layers)
