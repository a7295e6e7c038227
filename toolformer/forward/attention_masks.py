"""Additive attention masks, one for each kind of attention layer that a model has.

Full attention sees all that a query may see; sliding attention of that only the last `window`
tokens, its own included:

    visible and query position - key position < window
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_SLIDING = "sliding_attention"
# Windows that attention layers keep themselves, where masks do not reach them.
_WINDOWS_OF_LAYERS = ("attention_chunk_size", "window_size", "local_attention")


@dataclass(frozen=True, slots=True)
class AttentionKinds:
    """The kinds of attention layers of a model.

    Attributes:
        windows: by kind the most tokens that a query sees, None for all. The only kind has no name
            where the model takes one mask for all layers.
    """

    windows: Mapping[str, int | None]

    @classmethod
    def of(cls, config: "PreTrainedConfig") -> "list[AttentionKinds]":
        """What a model may be by its configuration, the likeliest first.

        None where its layers have windows of their own that no mask opens.
        """
        length = getattr(config, "max_position_embeddings", None) or math.inf
        for field in _WINDOWS_OF_LAYERS:
            if (getattr(config, field, None) or length) < length:
                return []
        window = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ())
        by_kind = cls({kind: window if kind == _SLIDING else None for kind in sorted(kinds)})
        if window is None or _SLIDING not in kinds:
            return [cls({"": window}), *([by_kind] if kinds else [])]
        return [by_kind, cls({"": window})]

    def masks(
        self,
        visible: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        model: "PreTrainedModel",
    ) -> Any:
        """The masks of all kinds of layers.

        Args:
            visible: which keys each query may see, bool, shape `(rows or 1, queries, keys)`.
            queries: positions of the queries, int, shape `(rows or 1, queries)`.
            keys: positions of the keys, int, shape `(rows or 1, keys)`.
            model: has their type and device.

        Returns:
            A mask of shape `(rows or 1, 1, queries, keys)`, or one for each kind by its name. They
            are of floats: eager attention would add booleans as 0 and 1.
        """
        # Booleans are moved, and become floats there: fewer bytes.
        visible = visible.to(model.device)
        if any(self.windows.values()):
            queries, keys = queries.to(model.device), keys.to(model.device)
        masks: dict[str, torch.Tensor] = {}
        for kind, window in self.windows.items():
            seen = visible
            if window is not None:
                seen = visible & (queries[:, :, None] - keys[:, None, :] < window)
            mask = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
            masks[kind] = mask.masked_fill_(~seen, torch.finfo(model.dtype).min)[:, None]
        return masks.get("", masks)


def attention_window(config: "PreTrainedConfig") -> int | None:
    """How many tokens a layer of a model sees at most; None where all see all."""
    windows = [getattr(config, name, None) for name in ("sliding_window", *_WINDOWS_OF_LAYERS)]
    return min((window for window in windows if window), default=None)


@contextmanager
def small_window(config: "PreTrainedConfig", window: int) -> Iterator[None]:
    """Let a model make its own masks with a small window, so that few tokens show what it does."""
    own: Any = getattr(config, "sliding_window", None)
    if own is None:
        yield
        return
    config.sliding_window = window
    try:
        yield
    finally:
        config.sliding_window = own
