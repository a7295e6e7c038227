import pytest
import torch
from transformers.integrations import sdpa_attention

from tests.toolformer.architectures import ARCHITECTURES
from toolformer.forward import network


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
    states = []
    for name in ("sdpa_shared_heads", "sdpa"):
        model.model.set_attn_implementation(name)
        with torch.inference_mode():
            outputs = model.model.base_model(ids, attention_mask=mask, position_ids=places)
        states.append(outputs.last_hidden_state)
    torch.testing.assert_close(*states)
    with torch.inference_mode():
        assert not torch.allclose(states[0], model.hidden_states(ids), atol=1e-3)


@pytest.mark.parametrize(("device", "is_own"), [("cpu", False), ("meta", True)])
def test_where_a_model_was_moved_to_another_device_keys_are_copied(device, is_own, monkeypatch):
    monkeypatch.setattr(sdpa_attention, "sdpa_attention_forward", lambda *_, **__: "transformers'")
    query, key = (torch.zeros((1, heads, 3, 8), device=device) for heads in (4, 2))
    mask = torch.zeros((1, 1, 3, 3), device=device)
    found = network._attention(torch.nn.Module(), query, key, key, mask)
    assert (found == "transformers'") == is_own
