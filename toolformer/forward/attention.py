"""Attention over rows that are packed one behind the other, without padding.

    packed row:   text 0 ……… | text 1 …… | text 2 …………          one row for the linear layers
    attention:    each text sees the shared prefix, and itself up to the token

Hugging Face models look up their attention function by name; ours is registered under one, and
asks the plan of the running forward pass what each token sees. Does not know tokens, prompts or
calls, and does not choose which models can be served: `language_model` beside it probes that.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import local
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

NAME = "toolformer_packed"
# Queries worked on at once on a processor: their scores stay in its cache, and later chunks alone
# see the later keys.
_QUERY_CHUNK = 128
# Rows of like length are worked on side by side, padded for this step alone, where padding adds at
# most this share.
_PADDING_SHARE = 0.15
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


# A tool's call that came too late goes on in its own thread, beside a pass of another model.
_thread = local()


@contextmanager
def running(model: Any, plan: AttentionPlan) -> Iterator[None]:
    """Within the block the model's attention follows the plan, in this thread.

    Behind the block it has the attention it had before. No two threads may be in such a block with
    the same model.
    """
    _register()
    before = model.config._attn_implementation
    outer = getattr(_thread, "running", None)
    model.config._attn_implementation = NAME
    _thread.running = _Running(plan)
    try:
        yield
    finally:
        _thread.running = outer
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
    if options.get("dropout"):
        raise UnservedAttentionError("its attention drops out at random")
    state: _Running = _thread.running
    layer = state.layer
    state.layer += 1
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended = state.plan.attend(layer, query[0], key[0], value[0], scale)
    # Model classes view it in other shapes.
    return attended[None].contiguous(), None


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring rows of like length, which attention works on side by side.

    Attributes:
        start, end: their tokens in the pack.
        rows, length: how many they are, and how long the longest is.
        padded: the token that stands at each place, shape `(rows · length,)`; None where all rows
            are equally long.
        unpadded: the place of each token, shape `(tokens,)`.
    """

    start: int
    end: int
    rows: int
    length: int
    padded: "torch.Tensor | None"
    unpadded: "torch.Tensor | None"


class PackedRows:
    """Rows one behind the other; each sees the prefix and itself, causally.

    Attributes:
        kept: per layer the rows' own keys and values, shape `(key heads, tokens, head size)`;
            empty unless they are to be kept.
    """

    def __init__(
        self, lengths: Sequence[int], *, prefix: Sequence[Layer] = (), keeps: bool = False
    ):
        self._groups = list(_groups(lengths))
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
        attended: list[torch.Tensor] = []
        for group in self._groups:
            keys, values = _side_by_side(key, group), _side_by_side(value, group)
            if self._prefix:
                keys, values = (
                    torch.cat([part.expand(group.rows, -1, -1, -1), of_rows], dim=2)
                    for part, of_rows in zip(self._prefix[layer], (keys, values), strict=True)
                )
            of_group = causal_attention(_side_by_side(query, group), keys, values, scaling)
            of_group = of_group.reshape(-1, *of_group.shape[2:])
            if group.unpadded is not None:
                of_group = of_group[group.unpadded.to(of_group.device)]
            attended.append(of_group)
        return attended[0] if len(attended) == 1 else torch.cat(attended)


def _groups(lengths: Sequence[int]) -> Iterator[_Group]:
    first = start = 0
    while first < len(lengths):
        last, longest, tokens = first, 0, 0
        while last < len(lengths):
            padded = max(longest, lengths[last]) * (last + 1 - first)
            if last > first and padded > (1 + _PADDING_SHARE) * (tokens + lengths[last]):
                break
            longest = max(longest, lengths[last])
            tokens += lengths[last]
            last += 1
        yield _group(start, lengths[first:last], longest)
        first, start = last, start + tokens


def _group(start: int, lengths: Sequence[int], longest: int) -> _Group:
    import torch

    padded = unpadded = None
    if min(lengths) < longest:
        # Padding stands behind a row, where no token of it looks; any token will do.
        padded = torch.full((len(lengths), longest), start)
        places: list[torch.Tensor] = []
        token = start
        for row, length in enumerate(lengths):
            padded[row, :length] = torch.arange(token, token + length)
            places.append(torch.arange(length) + row * longest)
            token += length
        padded, unpadded = padded.reshape(-1), torch.cat(places)
    return _Group(start, start + sum(lengths), len(lengths), longest, padded, unpadded)


def _side_by_side(values: "torch.Tensor", group: _Group) -> "torch.Tensor":
    """`(heads, tokens, size)` of the pack as `(rows, heads, length, size)` of a group."""
    heads, _, size = values.shape
    if group.padded is None:
        of_group = values[:, group.start : group.end]
    else:
        of_group = values.index_select(1, group.padded.to(values.device))
    return of_group.reshape(heads, group.rows, group.length, size).transpose(0, 1)


def causal_attention(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", scaling: float
) -> "torch.Tensor":
    """Attention of the last tokens of each row to all of it.

        keys:     0 1 2 3 4 5 6
        query 0:  x x x x x          3 queries, 7 keys: the queries stand at the last 3 places
        query 1:  x x x x x x
        query 2:  x x x x x x x

    Args:
        query: shape `(rows, heads, queries, head size)`.
        keys, values: shape `(rows, key heads, keys, head size)`, with `keys >= queries`.
        scaling: of the scores.

    Returns:
        Shape `(rows, queries, heads, head size)`.
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

    shared = query.shape[1] // keys.shape[1]
    attended = scaled_dot_product_attention(
        query,
        keys.repeat_interleave(shared, dim=1),
        values.repeat_interleave(shared, dim=1),
        # A tensor subclass, which the signature does not name.
        attn_mask=causal_lower_right(query.shape[2], keys.shape[2]),  # pyright: ignore[reportArgumentType]
        scale=scaling,
    )
    return attended.transpose(1, 2)


def chunked_causal_attention(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", scaling: float
) -> "torch.Tensor":
    """`causal_attention` by plain matrix products: the fast form on a processor.

    PyTorch's fused kernel is no faster in bfloat16 than in float32 there. Query heads that share
    keys are rows of one product.
    """
    import torch

    rows, heads, queries, size = query.shape
    key_heads, length = keys.shape[1:3]
    shared = heads // key_heads
    before = length - queries
    grouped = (query * scaling).reshape(rows * key_heads, shared, queries, size)
    keys = keys.reshape(rows * key_heads, length, size)
    values = values.reshape(rows * key_heads, length, size)
    attended = query.new_empty((rows, queries, key_heads, shared, size))
    for start in range(0, queries, _QUERY_CHUNK):
        end = min(start + _QUERY_CHUNK, queries)
        count, seen = end - start, before + end
        chunk = grouped[:, :, start:end].reshape(-1, shared * count, size)
        scores = torch.bmm(chunk, keys[:, :seen].transpose(1, 2))
        scores.view(-1, shared, count, seen)[..., seen - count :].add_(
            _future_bias(count, query.dtype, query.device)
        )
        of_chunk = torch.bmm(torch.softmax(scores, dim=-1), values[:, :seen])
        attended[:, start:end] = of_chunk.view(rows, key_heads, shared, count, size).permute(
            0, 3, 1, 2, 4
        )
    return attended.view(rows, queries, heads, size)


@lru_cache(maxsize=2 * _QUERY_CHUNK)
def _future_bias(count: int, dtype: "torch.dtype", device: "torch.device") -> "torch.Tensor":
    """What hides from each of the last tokens those behind it, shape `(count, count)`."""
    import torch

    hidden = torch.full((count, count), float("-inf"), dtype=dtype, device=device)
    return hidden.triu_(1)
