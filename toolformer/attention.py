"""Attention over rows that are packed one behind the other, without padding.

    packed row:   text 0 ……… | text 1 …… | text 2 …………          one row for the linear layers
    attention:    each text sees the shared prefix, and itself up to the token

Hugging Face models look up their attention function by name; ours is registered under one, and
asks the plan of the running forward pass what each token sees. Does not know tokens, prompts or
calls, and does not choose which models can be served: `toolformer.language_model` probes that.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

NAME = "toolformer_packed"
# Queries worked on at once on a processor: their scores stay in its cache, and later chunks alone
# see the later keys.
_QUERY_CHUNK = 128
# What some architectures add to plain attention. A model that asks for one of these is not served.
_UNSERVED = ("sliding_window", "softcap", "s_aux", "position_bias", "head_mask")

Layer = tuple["torch.Tensor", "torch.Tensor"]


class UnservedAttentionError(Exception):
    """The model asks for a kind of attention that the packed form does not compute."""


class AttentionPlan(Protocol):
    """What the tokens of one forward pass see."""

    def attend(
        self,
        layer: int,
        query: "torch.Tensor",
        key: "torch.Tensor",
        value: "torch.Tensor",
        scaling: float,
    ) -> "torch.Tensor":
        """Attention of all tokens in one layer.

        Args:
            layer: number of the layer.
            query: shape `(heads, tokens, head size)`.
            key, value: of the same tokens, shape `(key heads, tokens, head size)`.
            scaling: of the scores.

        Returns:
            Shape `(tokens, heads, head size)`.
        """
        ...


class _Running:
    """The plan of the forward pass that is running, and the layer it has come to."""

    def __init__(self, plan: AttentionPlan):
        self.plan = plan
        self.layer = 0


_running: list[_Running] = []


@contextmanager
def running(model: Any, plan: AttentionPlan) -> Iterator[None]:
    """Within the block the model's attention follows the plan; afterwards it is as before."""
    _register()
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    _running.append(_Running(plan))
    try:
        yield
    finally:
        _running.pop()
        model.config._attn_implementation = before


def _register() -> None:
    from transformers import AttentionInterface

    # A name without a mask function: transformers then builds no mask at all.
    AttentionInterface.register(NAME, _attention)


def _attention(
    module: Any,  # noqa: ARG001
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: object,  # noqa: ARG001
    *,
    scaling: float | None = None,
    **options: object,
) -> tuple["torch.Tensor", None]:
    for name in _UNSERVED:
        if options.get(name) is not None:
            raise UnservedAttentionError(f"its attention uses {name}")
    state = _running[-1]
    layer = state.layer
    state.layer += 1
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return state.plan.attend(layer, query[0], key[0], value[0], scale)[None], None


class PackedRows:
    """Rows one behind the other; each sees the prefix and itself, causally.

    Attributes:
        kept: per layer the rows' own keys and values, shape `(key heads, tokens, head size)`;
            empty unless they are to be kept.
    """

    def __init__(
        self, lengths: Sequence[int], *, prefix: Sequence[Layer] = (), keeps: bool = False
    ):
        self._bounds: list[tuple[int, int]] = []
        start = 0
        for length in lengths:
            self._bounds.append((start, start + length))
            start += length
        self._prefix = prefix
        self._keeps = keeps
        self.kept: list[Layer] = []

    def attend(
        self,
        layer: int,
        query: "torch.Tensor",
        key: "torch.Tensor",
        value: "torch.Tensor",
        scaling: float,
    ) -> "torch.Tensor":
        """See `AttentionPlan`."""
        import torch

        if self._keeps:
            self.kept.append((key, value))
        heads, tokens, head_size = query.shape
        attended = query.new_empty((tokens, heads, head_size))
        for start, end in self._bounds:
            keys, values = key[:, start:end], value[:, start:end]
            if self._prefix:
                prefix_keys, prefix_values = self._prefix[layer]
                keys = torch.cat([prefix_keys, keys], dim=1)
                values = torch.cat([prefix_values, values], dim=1)
            attended[start:end] = causal_attention(query[:, start:end], keys, values, scaling)
        return attended


def causal_attention(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", scaling: float
) -> "torch.Tensor":
    """Attention of the last tokens of one row to all of it.

        keys:     0 1 2 3 4 5 6
        query 0:  x x x x x          3 queries, 7 keys: the queries stand at the last 3 places
        query 1:  x x x x x x
        query 2:  x x x x x x x

    Args:
        query: shape `(heads, queries, head size)`.
        keys, values: shape `(key heads, keys, head size)`, with `keys >= queries`.
        scaling: of the scores.

    Returns:
        Shape `(queries, heads, head size)`.
    """
    if query.is_cuda:
        return fused_causal_attention(query, keys, values, scaling)
    return chunked_causal_attention(query, keys, values, scaling)


def fused_causal_attention(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", scaling: float
) -> "torch.Tensor":
    """`causal_attention` by PyTorch's fused kernel: the fast form on a GPU."""
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention

    shared = query.shape[0] // keys.shape[0]
    attended = scaled_dot_product_attention(
        query[None],
        keys.repeat_interleave(shared, dim=0)[None],
        values.repeat_interleave(shared, dim=0)[None],
        # A tensor subclass, which the signature does not name.
        attn_mask=causal_lower_right(query.shape[1], keys.shape[1]),  # pyright: ignore[reportArgumentType]
        scale=scaling,
    )
    return attended[0].transpose(0, 1)


def chunked_causal_attention(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", scaling: float
) -> "torch.Tensor":
    """`causal_attention` by plain matrix products: the fast form on a processor.

    PyTorch's fused kernel is no faster in bfloat16 than in float32 there. Query heads that share
    keys are rows of one product.
    """
    import torch

    heads, queries, head_size = query.shape
    key_heads = keys.shape[0]
    shared = heads // key_heads
    before = keys.shape[1] - queries
    attended = query.new_empty((queries, heads, head_size))
    grouped = (query * scaling).reshape(key_heads, shared, queries, head_size)
    for start in range(0, queries, _QUERY_CHUNK):
        end = min(start + _QUERY_CHUNK, queries)
        count, seen = end - start, before + end
        rows = grouped[:, :, start:end].reshape(key_heads, shared * count, head_size)
        scores = torch.bmm(rows, keys[:, :seen].transpose(1, 2))
        scores.view(key_heads, shared, count, seen)[..., seen - count :].add_(
            _future_bias(count, query.dtype, query.device)
        )
        of_chunk = torch.bmm(torch.softmax(scores, dim=-1), values[:, :seen])
        attended[start:end] = (
            of_chunk.view(key_heads, shared, count, head_size)
            .permute(2, 0, 1, 3)
            .reshape(count, heads, head_size)
        )
    return attended


@lru_cache(maxsize=2 * _QUERY_CHUNK)
def _future_bias(count: int, dtype: "torch.dtype", device: "torch.device") -> "torch.Tensor":
    """What hides from each of the last tokens those behind it, shape `(count, count)`."""
    import torch

    hidden = torch.full((count, count), float("-inf"), dtype=dtype, device=device)
    return hidden.triu_(1)
