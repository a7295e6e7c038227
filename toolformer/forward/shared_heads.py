"""Attention of query heads that share key heads, without a copy of the keys for each of them.

Transformers copies keys and values to every query head wherever there is a mask, since kernels of
CUDA need it so. The kernel of processors does not, and gives the same bits without.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_NAME = "sdpa_shared_heads"


def share_key_heads(model: "PreTrainedModel") -> None:
    """Let a model on a processor compute its attention so, where its query heads share keys."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", 0)
    is_shared = (getattr(config, "num_key_value_heads", None) or heads) < heads
    if is_shared and model.device.type == "cpu" and config._attn_implementation == "sdpa":
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        model.set_attn_implementation(_NAME)


def _attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    **options: Any,
) -> "tuple[torch.Tensor, None]":
    """See `transformers.AttentionInterface`; keys are not copied where there is a mask.

    A model that was loaded here may be computed elsewhere: FSDP moves it layer by layer.
    """
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    is_elsewhere = query.device.type != "cpu"
    if is_elsewhere or attention_mask is None or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
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
