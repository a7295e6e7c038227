"""Builds additive attention masks, one per kind of attention layer of a model.

Keys that `visible` excludes are masked in every layer. Layers with sliding attention also mask keys
`window` or more positions before the query.
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
# Configuration fields that set a window which layers enforce themselves, regardless of their mask.
_BUILT_IN_WINDOWS = ("attention_chunk_size", "window_size", "local_attention")


@dataclass(frozen=True, slots=True)
class AttentionKinds:
    """Attention window of each kind of layer: the most keys that a query sees, or None.

    A model that takes one mask for all of its layers has a single kind, named "".
    """

    windows: Mapping[str, int | None]

    @classmethod
    def of(cls, config: "PreTrainedConfig") -> "list[AttentionKinds]":
        """Return candidates for a configuration, most likely first.

        Returns [] if a layer enforces its own window shorter than the context.
        """
        length = getattr(config, "max_position_embeddings", None) or math.inf
        for field in _BUILT_IN_WINDOWS:
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
        """Return a float mask of shape `(rows or 1, 1, queries, keys)`, or one per kind.

        `visible` is bool of shape `(rows or 1, queries, keys)`. `queries` and `keys` are position
        ids of shape `(rows or 1, …)`. The masks are floats, because eager attention adds the mask
        to the scores and would add a boolean as 0 or 1.
        """
        # Move the mask as booleans, which are smaller, and convert it on the device.
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
    """Return the smallest attention window of a model in tokens; None if attention is unlimited."""
    windows = [getattr(config, name, None) for name in ("sliding_window", *_BUILT_IN_WINDOWS)]
    return min((window for window in windows if window), default=None)


@contextmanager
def small_window(config: "PreTrainedConfig", window: int) -> Iterator[None]:
    """Shrink the configured sliding window temporarily, so that a short probe is longer than it."""
    own: Any = getattr(config, "sliding_window", None)
    if own is None:
        yield
        return
    config.sliding_window = window
    try:
        yield
    finally:
        config.sliding_window = own
