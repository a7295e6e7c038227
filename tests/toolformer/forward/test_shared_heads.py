import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface

from tests.toolformer.architectures import ARCHITECTURES
from toolformer.forward import shared_heads


def test_query_heads_that_share_keys_give_what_copies_of_the_keys_give():
    model = ARCHITECTURES["granite"]()
    config = model.text_config
    assert config.num_key_value_heads < config.num_attention_heads
    assert config._attn_implementation == "sdpa_shared_heads"
    ids, places = torch.tensor([[0, 5, 6, 7, 8, 9]]), torch.arange(6)[None]
    # The last tokens do not see the third: transformers makes no such mask itself.
    visible = torch.ones((1, 6, 6), dtype=torch.bool).tril()
    visible[:, 3:, 2] = False
    mask = model.kinds.masks(visible, places, places, model.model)
    AttentionInterface.register("grouped", shared_heads.grouped_attention)
    states = []
    for name in ("sdpa_shared_heads", "grouped", "sdpa"):
        model.model.set_attn_implementation(name)
        with torch.inference_mode():
            outputs = model.model.base_model(ids, attention_mask=mask, position_ids=places)
        states.append(outputs.last_hidden_state)
    for each in states[1:]:
        torch.testing.assert_close(each, states[0])
    with torch.inference_mode():
        assert not torch.allclose(states[0], model.hidden_states(ids), atol=1e-3)


def copies_of_the_keys(query, key, value, mask, scaling):
    heads = query.shape[1]
    repeated = (each.repeat_interleave(heads // each.shape[1], dim=1) for each in (key, value))
    output = scaled_dot_product_attention(query, *repeated, attn_mask=mask, scale=scaling)
    return output.transpose(1, 2)


@pytest.mark.parametrize("heads", [2, 4, 6])
@pytest.mark.parametrize("mask_shape", [(1, 1), (3, 1), (3, 0)])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("way", [shared_heads.attention, shared_heads.grouped_attention])
def test_shared_keys_and_gradients_equal_those_of_copies(heads, mask_shape, queries, way):
    numbers = torch.Generator().manual_seed(heads)
    query, key, value = (
        torch.randn(3, count, tokens, size, generator=numbers).requires_grad_()
        for count, tokens, size in ((heads, queries, 8), (2, 7, 8), (2, 7, 6))
    )
    # As of most layers queries lie in memory token by token.
    by_token = query.transpose(1, 2).contiguous().transpose(1, 2)
    rows, of_mask = mask_shape
    mask = torch.randn(rows, of_mask or heads, queries, 7, generator=numbers)
    found, _ = way(torch.nn.Module(), by_token, key, value, mask, scaling=0.3)
    expected = copies_of_the_keys(query, key, value, mask, 0.3)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous()
    weights = torch.randn(expected.shape, generator=numbers)
    gradients = [
        torch.autograd.grad((each * weights).sum(), [query, key, value])
        for each in (found, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_keys_are_not_copied_on_any_device(device):
    query, key = (torch.zeros((2, *shape, 8), device=device) for shape in ((6, 3), (2, 100)))
    mask = torch.zeros((2, 1, 3, 100), device=device)
    with Outputs() as outputs:
        shared_heads.attention(torch.nn.Module(), query, key, key, mask)
    assert outputs.shapes
    assert not any(shape[-2:] == (100, 8) for shape in outputs.shapes)


class Outputs(TorchDispatchMode):
    """Records the shapes of the tensors that operations make, views left out."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(result, torch.Tensor):
            self.shapes.append(tuple(result.shape))
        return result
