"""Keys of texts that grow, are cut, copied and put together: the logits of whole rows."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from tests.fakes import byte_tokenizer, tiny_model
from tests.toolformer.architectures import ARCHITECTURES
from toolformer.errors import SequenceTooLongError
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.rows import Rows
from toolformer.forward.shared_rows import SharedRows

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow
NETWORK = tiny_model()


@lru_cache
def plain_network(name: str) -> LanguageModel:
    return ARCHITECTURES[name]()


def fed(rows, tokens, model=NETWORK):
    """The logits behind them."""
    states = rows.feed(tokens)
    with torch.inference_mode():
        return model.logits(states)


@pytest.mark.parametrize("is_plain", [False, True])
def test_a_row_longer_than_the_context_is_refused(monkeypatch, is_plain):
    monkeypatch.setattr(NETWORK, "is_plain", is_plain)
    longest, refused = NETWORK.context_length, "row of 513 tokens .* at most 512"
    rows = NETWORK.contexts(2)
    rows.feed([[7], [7] * (longest - 1)])
    rows.feed([[7], [7]])
    with pytest.raises(SequenceTooLongError, match=refused):
        rows.feed([[7], [7]])
    with pytest.raises(SequenceTooLongError, match=refused):
        NETWORK.losses_at([[7] * (longest + 1)], [(0, 3, 7)])


def assert_goes_on(logits, model, ids):
    """As the whole row does, without a cache."""
    with torch.no_grad():
        expected = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    torch.testing.assert_close(logits, expected.float(), atol=1e-4, rtol=1e-4)


@settings(deadline=None)
@given(st.data())
def test_cache_gives_the_logits_of_feeding_everything_from_scratch(data):
    check_cache(NETWORK, data)


@pytest.mark.parametrize("name", ["llama_plain", "qwen3_next"])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_copied_caches_give_the_logits_of_feeding_everything_from_scratch(name, data):
    check_cache(plain_network(name), data)


def check_cache(model, data):
    rows = data.draw(st.integers(1, 3))
    cache = model.contexts(rows)
    texts: list[list[int]] = [[] for _ in range(rows)]
    away: list[tuple[Rows, list[int]]] = []
    token = st.integers(0, model.tokenizer.vocabulary_size - 1)
    for _ in range(data.draw(st.integers(1, 5))):
        width = data.draw(st.sampled_from([1, 3, 40]))
        new = [data.draw(st.lists(token, min_size=1, max_size=width)) for _ in texts]
        logits = fed(cache, new, model)
        texts = [text + tokens for text, tokens in zip(texts, new, strict=True)]
        for place, text in enumerate(texts):
            assert cache.length(place) == len(text)
            assert_goes_on(logits[place], model, text)
        for place, text in enumerate(texts):
            if data.draw(st.booleans()):
                length = data.draw(st.integers(1, len(text)))
                cache.forget(place, length)
                del text[length:]
        if away:
            back, text = away.pop()
            back.feed([[7, 8]])
            cache, texts = cache.join([back]), [*texts, [*text, 7, 8]]
        if len(texts) > 1 and data.draw(st.booleans()):
            left = data.draw(st.integers(0, len(texts) - 1))
            if data.draw(st.booleans()):
                away.append((cache.fork([left]), texts[left]))
            kept = data.draw(st.permutations([at for at in range(len(texts)) if at != left]))
            cache.keep(kept)
            texts = [texts[place] for place in kept]


@pytest.mark.parametrize("is_plain", [False, True])
def test_copies_of_a_cache_go_on_behind_its_text_and_leave_it_as_it_is(monkeypatch, is_plain):
    monkeypatch.setattr(NETWORK, "is_plain", is_plain)
    opening = [0, *range(5, 45)]
    cache = NETWORK.contexts(1)
    cache.feed([opening])
    rows = cache.fork([0, 0])
    entering = cache.fork([0])
    assert_goes_on(fed(cache, [[30]])[0], NETWORK, [*opening, 30])
    rows.feed([[7, 8, 9], [10]])
    assert_goes_on(fed(cache, [[31]])[0], NETWORK, [*opening, 30, 31])
    entering.feed([[11, 12]])
    rows = rows.join([entering])
    logits = fed(rows, [[20], [21, 22], [23]])
    for place, text in enumerate(([7, 8, 9, 20], [10, 21, 22], [11, 12, 23])):
        assert rows.length(place) == len(opening) + len(text)
        assert_goes_on(logits[place], NETWORK, opening + text)


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize(("left", "kept"), [(0, [2, 1]), (1, [0, 2]), (2, [0, 1])])
def test_keys_of_texts_stay_where_they_are_while_another_leaves_and_comes_back(
    monkeypatch, is_plain, left, kept
):
    monkeypatch.setattr(NETWORK, "is_plain", is_plain)
    cache = NETWORK.contexts(3)
    texts = [[0, 9, 8, 7], [0, 5], [0, 6, 6]]
    cache.feed(texts)
    layers: Any = [] if is_plain else cache._cache.layers
    before = [layer.keys.data_ptr() for layer in layers]
    away = cache.fork([left])
    cache.keep(kept)
    cache.feed([[11], [12]])
    away.feed([[13, 14]])
    cache = cache.join([away])
    assert [layer.keys.data_ptr() for layer in layers] == before
    logits = fed(cache, [[20], [21], [22]])
    texts_fed = (kept[0], [11, 20]), (kept[1], [12, 21]), (left, [13, 14, 22])
    for place, (text, behind) in enumerate(texts_fed):
        assert_goes_on(logits[place], NETWORK, texts[text] + behind)


def test_a_row_that_forgets_what_was_not_fed_goes_on_behind_what_was(monkeypatch):
    monkeypatch.setattr(NETWORK, "is_plain", True)
    cache = NETWORK.contexts(1)
    cache.feed([[0, 9, 8, 7]])
    seen = []
    own_states = type(NETWORK).own_states
    monkeypatch.setattr(
        type(NETWORK),
        "own_states",
        lambda self, ids, past: seen.append(ids.tolist()) or own_states(self, ids, past),
    )
    cache.forget(0, 4)
    assert_goes_on(fed(cache, [[5]])[0], NETWORK, [0, 9, 8, 7, 5])
    assert seen == [[[5]]]
    cache.forget(0, 3)
    assert_goes_on(fed(cache, [[6]])[0], NETWORK, [0, 9, 8, 6])
    assert seen[1:] == [[[0, 9, 8, 6]]]


def test_lines_of_ended_texts_leave_once_they_are_an_eighth():
    cache = NETWORK.contexts(12)
    texts = [[0, *range(20, 20 + length)] for length in range(4, 16)]
    cache.feed(texts)
    left = list(range(12))
    cache = cache.fork(left, [len(text) for text in texts], shares=True)
    lines_fed = []
    for step, gone in enumerate([{3}, set(), {0, 11}, {6}, {1, 2, 4, 5}]):
        # Two rows of each text, of which the first goes on.
        rows = [row for row, text in enumerate(left) if text not in gone for _ in range(2)]
        left = [text for text in left if text not in gone]
        cache, before = cache.fork(rows, shares=True), NETWORK.tokens_fed
        tokens = [[30 + step], [60 + step]] * len(left)
        logits = fed(cache, tokens)
        lines_fed.append((NETWORK.tokens_fed - before) // 2)
        for place, text in enumerate(left):
            for row, token in enumerate((30 + step, 60 + step)):
                assert_goes_on(logits[2 * place + row], NETWORK, [*texts[text], token])
            texts[text].append(30 + step)
        cache = cache.fork(range(0, len(rows), 2), shares=True)
    assert lines_fed == [12, 12, 9, 9, 4]


def test_lines_that_stay_are_not_copied_when_others_leave():
    cache = NETWORK.contexts(8)
    cache.feed([[0, 9 + text, 8, 7] for text in range(8)])
    layers: Any = cache._cache.layers
    before = [(layer.keys.data_ptr(), layer.keys.clone()) for layer in layers]
    cache = cache.fork([0, 3, 4, 5, 6, 7], shares=True)
    for layer, (place, keys) in zip(cache._cache.layers, before, strict=True):
        assert layer.keys.data_ptr() == place
        # The last lines are at the places of those that left.
        assert torch.equal(layer.keys, keys[[0, 6, 7, 3, 4, 5]])


def test_hidden_keys_are_thrown_out():
    cache = SharedRows(NETWORK, 2)
    steady, forgetful = [0], [0]
    cache.feed([steady, forgetful])
    for step in range(60):
        cache_input = [[9 + step], [5, 6, 7, 8]]
        logits = fed(cache, cache_input)
        steady.append(9 + step)
        for place, text in enumerate((steady, forgetful + cache_input[1])):
            assert_goes_on(logits[place], NETWORK, text)
        cache.forget(1, 1)
    assert cache.keys < 1 + 4 * 60
    assert cache.keys <= cache.length(0) + 65


LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
BY_KIND = {"full_attention": LONG_ROPE, "sliding_attention": {"rope_theta": 10000.0}}


@pytest.mark.parametrize(("kind", "rope"), [("llama", LONG_ROPE), ("gemma3_text", BY_KIND)])
def test_the_longest_text_beside_another_leaves_its_losses_alone(kind, rope):
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "head_dim": 8,
    }
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"max_position_embeddings": 128, "initializer_range": 0.3}
    if kind != "llama":
        sizes["layer_types"] = list(rope)
    config = AutoConfig.for_model(kind, **sizes, rope_parameters=rope)
    model = LanguageModel(AutoModelForCausalLM.from_config(config), byte_tokenizer(), name=kind)
    short, places = [0, *range(40, 60)], [(0, place, 7) for place in range(21)]
    longest = [0] * model.context_length
    losses = model.losses_at([short, longest], places)
    assert losses == pytest.approx(model.losses_at([short], places), abs=1e-4)
