"""Grouped-query attention that does not copy the keys for each query head, as transformers does.

The results differ from those of transformers in the last digits.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARED_HEADS = "sdpa_shared_heads"


def share_key_heads(model: "PreTrainedModel") -> None:
    """Replace the SDPA attention of a model with grouped-query attention by `attention`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", 0)
    is_shared = (getattr(config, "num_key_value_heads", None) or heads) < heads
    if is_shared and config._attn_implementation == "sdpa":
        AttentionInterface.register(SHARED_HEADS, attention)
        AttentionMaskInterface.register(SHARED_HEADS, sdpa_mask)
        model.set_attn_implementation(SHARED_HEADS)


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention as a `transformers.AttentionInterface`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is None or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if query.device.type != "cpu":
        return grouped_attention(module, query, key, value, attention_mask, **options)
    output = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=options.get("dropout", 0.0),
        scale=options.get("scaling"),
        enable_gqa=True,
    )
    return output.transpose(1, 2).contiguous(), None


def grouped_attention(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute grouped-query attention with kernels that need one key head per query head.

    The queries that share a key head are stacked, so the mask is repeated instead of the keys:

        (rows, heads, queries, size) -> (rows, key heads, heads per key head * queries, size)
    """
    rows, heads, queries, size = query.shape
    sharing = heads // key.shape[1]
    # There is either one mask for all heads or one per head.
    masks = attention_mask.unflatten(1, (-1, min(sharing, attention_mask.shape[1])))
    output = scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], sharing * queries, size),
        key,
        value,
        attn_mask=masks.expand(-1, -1, sharing, -1, -1).flatten(2, 3),
        dropout_p=options.get("dropout", 0.0),
        scale=options.get("scaling"),
    )
    by_query = output.unflatten(2, (sharing, queries)).permute(0, 3, 1, 2, 4)
    return by_query.flatten(2, 3).contiguous(), None
