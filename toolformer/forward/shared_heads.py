"""Attention of query heads that share key heads, without a copy of the keys for each query head.

Transformers makes such copies wherever there is a mask. Last digits differ from its own.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARED_HEADS = "sdpa_shared_heads"


def share_key_heads(model: "PreTrainedModel") -> None:
    """Let a model with fewer key heads than query heads compute its attention here."""
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
    """See `transformers.AttentionInterface`.

    The device is that of the tensors: FSDP moves a model layer by layer.
    """
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
    """Attention for kernels that need as many key heads as query heads.

    The queries of all heads that share a key head become queries of one head. The mask is repeated
    for them instead of the keys:

        (rows, heads, queries, size) -> (rows, key heads, heads per key head * queries, size)
    """
    rows, heads, queries, size = query.shape
    sharing = heads // key.shape[1]
    # One mask for all heads, or one for each.
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
