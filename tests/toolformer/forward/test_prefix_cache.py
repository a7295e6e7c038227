import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolformer.forward.prefix_cache import SplitPrompt, causal_mask, compute_prompt_prefix

PROMPT = "Add calls.\nInput: {text}\nOutput:"
PLAIN = st.text(alphabet="ab \nIO:", max_size=15)


@given(before=PLAIN, after=PLAIN, text=PLAIN)
def test_a_split_prompt_says_what_the_prompt_says(before, after, text):
    split = SplitPrompt.of(f"{before}{{text}}{after}")
    assert split.prefix + split.text_part(text) == f"{before}{text}{after}"
    assert not split.prefix.endswith(" ")


def test_states_behind_the_prefix_equal_those_of_feeding_all(each_model):
    prefix = compute_prompt_prefix(each_model, PROMPT)
    assert prefix.prompt is not None
    assert prefix.length == len(each_model.tokenizer.encode(prefix.prompt.prefix))
    tails = [each_model.tokenizer.encode(text) for text in (" Six is 6", " A thing")]
    width = min(map(len, tails))
    tails = [tail[:width] for tail in tails]
    head = each_model.tokenizer.encode(prefix.prompt.prefix)
    with torch.inference_mode():
        behind = each_model.hidden_states(
            torch.tensor(tails),
            cache=prefix.cache(2),
            attention_mask=causal_mask(width, prefix.length, each_model),
            position_ids=torch.arange(prefix.length, prefix.length + width)[None],
        )
        whole = each_model.hidden_states(torch.tensor([head + tail for tail in tails]))
    torch.testing.assert_close(behind, whole[:, prefix.length :], atol=1e-4, rtol=1e-4)


def test_one_prefix_serves_many_batches(llama):
    prefix = compute_prompt_prefix(llama, PROMPT)
    before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]

    def feed(ids):
        return llama.hidden_states(
            torch.tensor([ids]),
            cache=prefix.cache(1),
            attention_mask=causal_mask(len(ids), prefix.length, llama),
            position_ids=torch.arange(prefix.length, prefix.length + len(ids))[None],
        )

    with torch.inference_mode():
        first = feed([5, 6, 7])
        feed([90, 91, 92, 93])
        torch.testing.assert_close(feed([5, 6, 7]), first, atol=0, rtol=0)
    for (keys, values), (keys_before, values_before) in zip(prefix.layers, before, strict=True):
        assert torch.equal(keys, keys_before)
        assert torch.equal(values, values_before)
        assert keys.shape[1] == prefix.length


@pytest.mark.parametrize(("queries", "keys_before"), [(3, 0), (3, 2), (1, 4)])
def test_a_token_sees_itself_and_all_before_it(llama, queries, keys_before):
    mask = causal_mask(queries, keys_before, llama)
    assert mask.shape == (1, 1, queries, keys_before + queries)
    assert mask.dtype == torch.float32
    for query in range(queries):
        for key in range(keys_before + queries):
            expected = 0.0 if key <= keys_before + query else torch.finfo(torch.float32).min
            assert mask[0, 0, query, key] == expected
